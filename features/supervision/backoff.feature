Feature: A failed engine is started again, but never too soon
  Each failure makes the next wait longer, so that an engine that cannot run does not keep its host busy; a long
  run without trouble makes all that forgotten. Whoever operates the pool need not wait.

  @B-SUPER-010
  Scenario: After the first crash the wait is short
    Given the pool is ready
    When the engine crashes
    Then the engine is launched again after about 1 second

  @B-SUPER-011
  Scenario: Each crash doubles the wait
    Given the pool is ready
    When the engine crashes 4 times in a row
    Then the restarts came after about 1, 2, 4 and 8 seconds

  @B-SUPER-011
  Scenario: A start that fails doubles the wait as well
    Given an engine that ends while it is loading
    And the start of the pool has failed
    When 7 seconds have passed
    Then the restarts came after about 1, 2 and 4 seconds

  @B-SUPER-012
  Scenario: The wait stops growing
    Given a pool that never gives up
    And the pool is ready
    When the engine crashes 20 times in a row
    Then no restart came later than after 60 seconds, and the last ones after about as much

  @B-SUPER-013
  Scenario: The wait is a little different each time
    Given the pool is ready
    When the engine crashes 20 times, each time after 10 minutes
    Then every restart came after 0.9 seconds to 1.1 seconds
    And hardly two of them came after the same time

  @B-SUPER-014
  Scenario: A long run makes earlier crashes forgotten
    Given the pool is ready
    And the engine crashes 3 times in a row
    When the engine crashes 1 time, each time after 300 seconds
    Then the pool has counted 1 failure
    And the restarts came after about 1, 2, 4 and 1 seconds

  @B-SUPER-014
  Scenario: A run that is not quite so long does not
    Given the pool is ready
    And the engine crashes 3 times in a row
    When the engine crashes 1 time, each time after 299 seconds
    Then the pool has counted 4 failures
    And the restarts came after about 1, 2, 4 and 8 seconds

  @B-SUPER-014
  Scenario: How long a run has to be is for the pool to say
    Given a pool that forgets its crashes after 20 seconds
    And the pool is ready
    When the engine crashes 3 times, each time after 20 seconds
    Then the restarts came after about 1, 1 and 1 seconds

  @B-SUPER-015
  Scenario: Each wait is logged
    Given the pool is ready
    When the engine crashes 2 times in a row
    Then the log tells of a restart in about 2 seconds, after 2 failures
    And it says at what time that will be

  @B-SUPER-016
  Scenario: The wait is never shorter than a pool allows
    Given a pool that waits at least 0.5 seconds before a restart
    And the pool is ready
    When the engine crashes 20 times, each time after 10 minutes
    Then every restart came after 0.5 seconds to 0.55 seconds

  @B-SUPER-017 @B-SUPER-x2
  Scenario Outline: What an engine died of changes the wait
    Given the pool is ready
    When the engine <dies>
    Then the engine is launched again after about <wait>

    Examples:
      | dies                       | wait      |
      | crashes                    | 1 second  |
      | crashes with a CUDA error  | 2 seconds |
      | loses its device           | 4 seconds |
      | is killed for want of memory | 1 second |

  @B-SUPER-017
  Scenario: How much longer the wait is, is for the pool to say
    Given a pool that waits 5 times as long after a CUDA error
    And the pool is ready
    When the engine crashes with a CUDA error
    Then the engine is launched again after about 5 seconds

  @B-SUPER-018
  Scenario: Waits are measured
    Given metrics are collected
    And the pool is ready
    When the engine crashes 2 times in a row
    Then the metrics count 2 restarts of "chat" because of "signal", after about 3000 milliseconds in all

  # --- what does not wait, or not for time ---

  @B-SUPER-x2
  Scenario: A port that somebody else has taken is exchanged for another at once
    Given other programs take the first 3 ports
    When the pool is started
    Then the pool is ready
    And that took 0 seconds
    And the pool has counted no failures

  @B-SUPER-x2
  Scenario: A port that was declared cannot be exchanged, so the start waits for it
    Given a pool whose port is taken by another program
    When the pool is started
    Then the pool is backing off
    And the pool has counted 1 failure

  @B-SUPER-x2
  Scenario: What cannot work is not tried again
    Given an engine that does not know its arguments
    When the pool is started
    Then the pool is failed
    And the engine is not launched again within 60 minutes

  @B-SUPER-x2
  Scenario: What cannot work is tried again once an operator asks for it
    Given an engine that does not know its arguments
    And the start of the pool has failed
    When the engine is mended and the pool is started
    Then the pool is ready

  @B-SUPER-x2
  Scenario: An engine for which a device had no room waits until there is room
    Given an engine that needs 6 GB of a device with 8 GB
    And the pool is ready
    When the engine runs out of device memory while another program takes 4 GB for 20 seconds
    Then the engine is launched again after 20 seconds to 23 seconds

  # --- operators ---

  @B-SUPER-x4
  Scenario: An operator need not wait
    Given the pool is ready
    And the engine crashes 4 times in a row
    When an operator starts the pool
    Then the engine is launched again at once

  @B-SUPER-x4
  Scenario: A stop while the pool waits is not undone
    Given the pool is ready
    And the engine crashes
    When the pool is stopped
    Then the engine is not launched again within 60 minutes
    And the pool is stopped
