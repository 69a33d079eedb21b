Feature: The engine is launched as it was declared
  What an operator writes down is what runs: the program itself, with its arguments to the letter, and
  everything it says in one place.

  @B-PRELOAD-001 @B-PRELOAD-002 @B-PROC-001 @B-PROC-002 @B-PROC-003 @real
  Scenario: Arguments arrive unharmed and in order, whatever is in them
    Given an engine that is given the words "$HOME * ; 'quoted'" and "{braces}"
    When the pool is started
    Then the engine got exactly the arguments that were declared
    And its log has the lines "$HOME * ; 'quoted'" and "{braces}"

  @B-PROC-001 @B-PROC-002 @B-PROC-003
  Scenario: A known kind of engine gets what it needs from the declaration
    Given a llama.cpp engine with the arguments "--ctx-size 4096"
    And a pool with 4 slots
    When the pool is started
    Then the engine is launched with these arguments, in this order:
      | --host      | 127.0.0.1          |
      | --port      | the pool's port    |
      | --parallel  | 4                  |
      | --model     | the model in place |
      | --ctx-size  | 4096               |

  @B-PRELOAD-003 @B-PRELOAD-004 @B-PROC-004 @B-PROC-006 @real
  Scenario: What an engine says, and what it complains of, goes to one log of the pool
    Given an engine that says "hello" and complains "too warm"
    When the pool is started
    Then its log has the lines "hello" and "too warm"
    And the log is kept under the manager's own folder

  @B-PRELOAD-004 @B-PROC-005 @real
  Scenario: The log goes on when the pool is started again
    Given an engine that says "hello" and complains "too warm"
    And the pool is ready
    When the pool is started anew
    Then its log has the line "hello" 2 times

  @B-PRELOAD-005
  Scenario: The pid file is there before the engine is first asked
    Given an engine that takes 5 seconds to load
    When the pool is started
    Then whenever the engine was asked, its pid file was there

  @B-PROC-020 @B-PROC-021 @B-PROC-022 @real
  Scenario: The pid file names the engine
    When the pool is started
    Then the pid file holds the number of the engine's process and nothing else
