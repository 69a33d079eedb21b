Feature: An engine is ended with all that belongs to it
  First it is asked to end. What is left after a while is ended by force. Nothing of it remains, and nothing
  else is touched.

  @B-PROC-010 @real
  Scenario: An engine that is asked to end, ends
    Given the pool is ready
    When the pool is stopped
    Then the engine ended when it was asked to
    And the engine is gone, and so is its pid file

  @B-PROC-011 @B-PROC-012 @B-PROC-013 @B-PROC-014 @real
  Scenario: An engine that does not want to end is ended by force
    Given an engine that ignores being asked to end
    And the pool is ready
    When the pool is stopped
    Then the engine was ended by force
    And the engine is gone, and so is its pid file

  @B-PROC-011
  Scenario: An engine has five seconds to end
    Given an engine that takes its time to end
    And the pool is ready
    When the pool is stopped
    Then that took 5 seconds
    And the engine was ended by force

  @B-PROC-x2 @B-PROC-x3 @real
  Scenario: Children and grandchildren are ended too, wherever they went
    Given an engine with a family of processes, that hold its port
    And the pool is ready
    And another program runs
    When the pool is stopped
    Then nothing of its family is left
    And the engine's port is free
    And the other program still runs

  @B-PROC-x3
  Scenario: What cannot be ended is told, and waited for
    Given an engine that nothing can end
    And the pool is ready
    When the pool is stopped
    Then that took 35 seconds
    And the pool is stuck, and names the engine

  @B-PROC-x3
  Scenario: Once the unkillable is gone the pool is stopped
    Given an engine that nothing can end
    And the pool is stuck with it
    When the engine goes at last
    Then the pool is stopped

  @B-PROC-x3
  Scenario: Nothing is started on a device where something cannot be ended
    Given "old" on device 0 has an engine that nothing can end
    When "new" is to start on device 0
    Then it is told that the device is in quarantine

  @B-PROC-x3
  Scenario: The device is used again once the unkillable is gone
    Given "old" on device 0 has an engine that nothing can end
    And "new" waits to start on device 0
    When the engine of "old" goes at last
    Then "new" serves

  @B-PROC-015
  Scenario: To stop a stopped pool is no mistake
    When the pool is stopped
    Then that succeeds at once
    And the pool is stopped

  @B-PROC-015 @real
  Scenario: To stop what a pid file names, without a pid file, is one
    When somebody stops the engine by its pid file
    Then that fails, naming the pid file
