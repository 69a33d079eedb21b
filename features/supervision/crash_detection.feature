Feature: An engine that fails is noticed, and why is told
  An engine may die, or live on without answering anybody. Either way its pool no longer says that it serves,
  and says why.

  @B-SUPER-001
  Scenario: An engine that ends is noticed at once
    Given the pool is ready
    When the engine ends with exit code 3
    Then the pool is backing off
    And the log tells that the engine ended with exit code 3

  @B-SUPER-001 @real
  Scenario: An engine that somebody else ends is noticed
    Given the pool is ready
    When somebody ends the engine by force
    Then the pool gives the engine up within 1 second
    And the engine is gone, and so is its pid file

  @B-SUPER-002
  Scenario: An engine that hangs is given up after three health checks
    Given the pool is ready
    When the engine hangs until it is given up
    Then the log has the times of 3 failed health checks
    And that took between 20 and 41 seconds

  @B-SUPER-002
  Scenario: An engine that hangs is replaced
    Given the pool is ready
    When the engine hangs until it is given up
    And 5 seconds have passed
    Then the pool is ready
    And another engine serves

  @B-SUPER-002
  Scenario: An engine that hangs for a moment goes on
    Given the pool is ready
    When the engine hangs for 15 seconds
    And 60 seconds have passed
    Then the pool is ready
    And the same engine serves

  @B-SUPER-002
  Scenario: Somebody who asks is told of the failed checks so far
    Given the pool is ready
    When the engine hangs for 21 seconds
    Then the pool says how many of 3 health checks failed

  @B-SUPER-002 @real
  Scenario: An engine that is frozen is ended and cleared away
    Given a pool that looks after its engine four times a second
    And the pool is ready
    When somebody freezes the engine
    Then the pool gives the engine up within 5 seconds
    And the engine was ended by force
    And the engine is gone, and so is its pid file

  @B-SUPER-004
  Scenario: A pool whose engine died does not say that it serves
    Given the pool is ready
    When the engine crashes
    Then the registry says that "chat" is neither live nor ready
    And the last error of "chat" begins with "run failed: the engine ended"

  @B-SUPER-004
  Scenario: A pool whose engine hangs does not say that it serves
    Given the pool is ready
    When the engine hangs until it is given up
    Then the registry says that "chat" is neither live nor ready
    And the last error of "chat" begins with "run failed: 3 health checks in a row failed"

  @B-SUPER-005
  Scenario: A death by a signal names the signal
    Given the pool is ready
    When the engine crashes
    Then the last error of "chat" names "SIGSEGV"

  @B-SUPER-005 @real
  Scenario: A real death by a signal names the signal
    Given the pool is ready
    When somebody ends the engine by force
    Then the pool gives the engine up within 1 second
    And the last error of "chat" names "SIGKILL"

  @B-SUPER-006
  Scenario: An engine that is done takes its pool with it
    Given an engine that is done when it ends with exit code 0
    And the pool is ready
    When the engine ends with exit code 0
    And 60 seconds have passed
    Then the pool is stopped

  @B-SUPER-006
  Scenario: An engine that ought to go on is restarted, whatever its exit code
    Given an engine that is never done
    And the pool is ready
    When the engine ends with exit code 0
    Then the pool is backing off

  @B-SUPER-006
  Scenario: An engine that is done before it was ready has failed
    Given an engine that is done when it ends with exit code 0
    And it ends with exit code 0 while it is loading
    When the pool is started
    Then the start fails in the health check
