Feature: An engine that fails again and again is left alone
  After too many failures in a row its circuit opens: nothing is started any more. From time to time one trial
  start is allowed; if that engine runs for a while, the circuit closes. An operator can overrule all this.

  @B-SUPER-020
  Scenario: The fifth failure in a row opens the circuit
    Given the pool is ready
    When the engine crashes 5 times in a row
    Then the circuit is open
    And the pool is failed
    And the engine is not launched again within 299 seconds

  @B-SUPER-020
  Scenario: The fourth does not
    Given the pool is ready
    When the engine crashes 4 times in a row
    Then the circuit is closed
    And the pool is backing off

  @B-SUPER-020
  Scenario: Starts that fail count like crashes
    Given an engine that ends while it is loading
    When the pool is started
    And 30 seconds have passed
    Then the circuit is open
    And the engine has been launched 5 times

  @B-SUPER-020
  Scenario: A long run in between makes the count start again
    Given the pool is ready
    And the engine crashes 4 times in a row
    When the engine crashes 4 times, each time after 300 seconds
    Then the circuit is closed

  @B-SUPER-020
  Scenario: Whoever asks is told what is wrong and when the next attempt is
    Given the circuit has opened
    When 100 seconds have passed
    Then the pool says "killed by SIGSEGV"
    And the pool says "it allows one trial in 3 min 20 s"
    And the pool says "To try at once, reset it"

  @B-SUPER-020
  Scenario: A start is refused while the circuit is open, and says when the next attempt is
    Given the circuit has opened
    When the pool is started
    Then the start fails in the run, and says "it allows one trial in 5 min"
    And the engine has been launched 5 times

  @B-SUPER-021
  Scenario: An engine that crashes while a circuit is open is not started again
    Given the pools "chat", "embed" and "code" serve on device 0
    And "embed" and "code" crash with a CUDA error
    When the engine crashes
    Then the log tells of the crash of "chat"
    And the pool is failed
    And no restart of "chat" was planned

  @B-SUPER-022
  Scenario: After its time-out the circuit allows one trial
    Given the circuit has opened
    When 300 seconds have passed
    Then the engine has been launched 6 times
    And the circuit is half-open

  @B-SUPER-023
  Scenario: A trial is one start, whoever asks for more
    Given an engine that takes 30 seconds to load
    And the circuit has opened
    And 310 seconds have passed
    When an operator starts the pool
    And 10 seconds have passed
    Then the engine has been launched 6 times
    And the circuit is half-open

  @B-SUPER-023 @B-SUPER-x7
  Scenario: Pools that share a circuit share its one trial
    Given the pools "chat", "embed" and "code" serve on device 0
    And "chat", "embed" and "code" crash with a CUDA error
    When 310 seconds have passed
    Then one of the pools serves, and the others are failed

  @B-SUPER-024
  Scenario: A trial that runs for a minute closes the circuit
    Given the circuit has opened
    When the trial has run for 60 seconds
    Then the circuit is closed
    And the pool is ready

  @B-SUPER-024
  Scenario: Until then the circuit stays half-open
    Given the circuit has opened
    When the trial has run for 59 seconds
    Then the circuit is half-open

  @B-SUPER-024
  Scenario: Once the circuit is closed, a crash is a crash as any other
    Given the circuit has opened
    And the trial has run for 60 seconds
    When the engine crashes
    Then the pool is backing off
    And the circuit is closed

  @B-SUPER-025
  Scenario: A trial that fails opens the circuit again, for twice as long
    Given the circuit has opened
    When the trial fails
    Then the circuit is open
    And the trials came after 300 and 600 seconds

  @B-SUPER-025
  Scenario: It is never open for longer than half an hour
    Given the circuit has opened
    When the trial fails 4 times in a row
    Then the trials came after 300, 600, 1200, 1800 and 1800 seconds

  @B-SUPER-025
  Scenario: Once the circuit was closed, it opens for the usual time again
    Given the circuit has opened
    And the trial fails
    And the trial has run for 300 seconds
    When the engine crashes 5 times in a row
    Then the trials came after 300, 600 and 300 seconds

  @B-SUPER-025
  Scenario: A trial that fails in another way fails as well
    Given the circuit has opened
    When the trial fails with a CUDA error
    Then the circuit is open

  @B-SUPER-026
  Scenario: Every change of the circuit is logged
    Given the circuit has opened
    When the trial has run for 60 seconds
    Then the log tells of these changes of the circuit of "chat":
      | old_state | new_state | failure_count |
      | closed    | open      | 5             |
      | open      | half_open | 5             |
      | half_open | closed    | 0             |

  @B-SUPER-027
  Scenario Outline: The state of the circuit is measured
    Given metrics are collected
    And the circuit has opened
    When <time> seconds have passed
    Then the metrics say that the circuit of "chat" has opened 1 time and is <state>

    Examples:
      | time | state     |
      | 299  | open      |
      | 300  | half-open |
      | 360  | closed    |

  @B-SUPER-028 @B-SUPER-x4
  Scenario: An operator closes the circuit
    Given the circuit has opened
    When an operator resets the circuit
    Then the circuit is closed
    And the pool is ready
    And the pool has counted no failures

  @B-SUPER-028
  Scenario: After that the pool is treated as if nothing had happened
    Given the circuit has opened
    And an operator resets the circuit
    When the engine crashes 4 times in a row
    Then the last restarts came after about 1, 2, 4 and 8 seconds
    And the circuit is closed

  @B-SUPER-029
  Scenario: How many failures open the circuit is for the pool to say
    Given a pool that gives up after 3 failures
    And the pool is ready
    When the engine crashes 3 times in a row
    Then the circuit is open

  @B-SUPER-029
  Scenario: Less do not
    Given a pool that gives up after 3 failures
    And the pool is ready
    When the engine crashes 2 times in a row
    Then the circuit is closed

  # --- circuits for some failures only ---

  @B-SUPER-02A
  Scenario: CUDA errors have a circuit of their own
    Given the pool is ready
    When the engine crashes with a CUDA error 5 times in a row
    Then the circuit for CUDA errors is open
    And the circuit is closed
    And the pool is failed

  @B-SUPER-02A
  Scenario: Failures of different kinds are counted apart
    Given the pool is ready
    And the engine crashes with a CUDA error 4 times in a row
    When the engine crashes 4 times in a row
    Then the circuit for CUDA errors is closed
    And the circuit is closed

  @B-SUPER-02A
  Scenario: A start needs every circuit to allow it
    Given the pool is ready
    And the engine crashes with a CUDA error 5 times in a row
    When the pool is started
    Then the pool is failed

  # --- devices ---

  @B-SUPER-x7
  Scenario: A device on which several pools fail is given up
    Given the pools "chat", "embed" and "code" serve on device 0
    When "embed" and "code" crash with a CUDA error
    And 5 seconds have passed
    Then the circuit of device 0 is open
    And "embed" and "code" are failed
    And the pool is ready

  @B-SUPER-x7
  Scenario: One pool that fails on it again and again does not convict the device
    Given the pools "chat", "embed" and "code" serve on device 0
    When the engine crashes with a CUDA error 3 times in a row
    Then the circuit of device 0 is closed

  @B-SUPER-x7
  Scenario: Several pools that fail, but not because of the device, do not convict it
    Given the pools "chat", "embed" and "code" serve on device 0
    When "embed" and "code" crash
    Then the circuit of device 0 is closed

  @B-SUPER-x7
  Scenario: Pools on other devices are not concerned
    Given the pools "embed" and "code" serve on device 0
    And the pool "chat" serves on device 1
    When "embed" and "code" crash with a CUDA error
    And the engine crashes
    Then the engine is launched again after about 1 second

  @B-SUPER-x7
  Scenario: A pool that is to start on a device that was given up does not
    Given the pools "embed" and "code" serve on device 0
    And "embed" and "code" crash with a CUDA error
    And a pool that may use the devices "0,1"
    When the pool is started
    Then the pool is failed
    And the engine has been launched 0 times

  # --- operators ---

  @B-SUPER-x4
  Scenario: A stop is no failure, however often and however roughly
    Given the pool is ready
    When an operator stops and starts the pool 10 times
    Then the pool has counted no failures
    And the circuit is closed

  @B-SUPER-x4
  Scenario: A pool that was stopped does not start by itself when its circuit allows it
    Given the circuit has opened
    When the pool is stopped
    Then the engine is not launched again within 60 minutes
    And the pool is stopped

  @B-SUPER-x4
  Scenario: A trial that an operator ends decides nothing
    Given the circuit has opened
    And the trial has run for 10 seconds
    When the pool is stopped
    Then the circuit is half-open

  @B-SUPER-x4 @B-SUPER-x7 @V5
  Scenario: A trial that an operator ends is free for another pool
    Given the pools "chat", "embed" and "code" serve on device 0
    And "chat", "embed" and "code" crash with a CUDA error
    And 310 seconds have passed
    When an operator stops the pool that serves
    Then one of the pools serves, and the others are stopped or failed
