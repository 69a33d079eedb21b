Feature: Nobody else is ended by mistake
  Numbers of processes are used again. That a file names one proves nothing.

  @B-PROC-x1 @real
  Scenario: A pid file alone proves nothing
    Given another program runs
    And a pid file that names it
    When somebody stops the engine by its pid file
    Then that fails, naming the pid file
    And the other program still runs

  @B-PROC-x1 @real
  Scenario: A process that got the number of an ended engine is left alone
    Given another program runs
    And a pid file that names it as an engine that was launched long ago
    When somebody stops the engine by its pid file
    Then the other program still runs
    And the pid file is gone

  @B-PROC-x1 @real
  Scenario: The engine that the pid file means is ended
    Given the pool is ready
    When somebody stops the engine by its pid file
    Then the engine is gone, and so is its pid file
