Feature: Restarts do not wear the host out
  How often a pool is started again within a time is limited, whatever its back-off and its circuits say; when it
  is restarted all the time, somebody is told, and what would help. A host restarts its pools one after the other.

  @B-SUPER-030
  Scenario: Restarts are counted
    Given the pool is ready
    When the engine crashes 4 times in a row
    And 10 seconds have passed
    Then the pool has counted 4 restarts, and that is kept

  @B-SUPER-030 @B-SUPER-x4
  Scenario: Starts that an operator asks for are not counted
    Given the pool is ready
    When an operator stops and starts the pool 10 times
    Then the pool has counted 0 restarts, and that is kept

  @B-SUPER-031
  Scenario: A run of ten minutes makes restarts forgotten
    Given the pool is ready
    And the engine crashes 3 times in a row
    When 610 seconds have passed
    Then the pool has counted 0 restarts, and that is kept

  @B-SUPER-031
  Scenario: A run that is not quite so long does not
    Given the pool is ready
    And the engine crashes 3 times in a row
    When 599 seconds have passed
    Then the pool has counted 3 restarts, and that is kept

  @B-SUPER-032
  Scenario: The sixth restart within a minute is warned of
    Given a pool that restarts at once and never gives up
    And the pool is ready
    When the engine crashes 6 times, each time after 5 seconds
    Then a warning says that there were 6 restarts within 60 seconds

  @B-SUPER-032
  Scenario: The fifth is not
    Given a pool that restarts at once and never gives up
    And the pool is ready
    When the engine crashes 5 times, each time after 5 seconds
    Then no warning speaks of restarts

  @B-SUPER-033 @B-SUPER-034
  Scenario: After ten restarts within a minute, the next one waits until a minute after the first
    Given a pool that restarts at once and never gives up
    And the pool is ready
    When the engine crashes 11 times, each time after 4 seconds
    Then the engine is launched again after 20 seconds
    And a warning says that the window of 60 seconds allows no more than 10 restarts

  @B-SUPER-033 @B-SUPER-034
  Scenario: In no minute there are more than ten, however long it goes on
    Given a pool that restarts at once and never gives up
    And the pool is ready
    When the engine crashes 50 times, each time after 4 seconds
    Then there were never more than 10 restarts within 60 seconds
    And there were at least 40

  @B-SUPER-033 @S13
  Scenario: An operator's start does not break the limit
    Given a pool that restarts at once and never gives up
    And the pool is ready
    And the engine crashes 11 times, each time after 4 seconds
    When an operator starts the pool
    Then the engine is launched again after 20 seconds

  @B-SUPER-033 @S13
  Scenario: Neither does a stop before that start
    Given a pool that restarts at once and never gives up
    And the pool is ready
    And the engine crashes 11 times, each time after 4 seconds
    When an operator stops the pool and starts it again
    Then the engine is launched again after 20 seconds

  @B-SUPER-033
  Scenario: The limit is for the pool to say
    Given a pool that is restarted at most 3 times in 30 seconds
    And the pool is ready
    When the engine crashes 4 times, each time after 6 seconds
    Then the engine is launched again after 12 seconds

  # --- storms ---

  @B-SUPER-035
  Scenario: Ten restarts within half a minute are a storm
    Given a pool that restarts at once and never gives up
    And the pool is ready
    When the engine crashes 11 times in a row
    Then the circuit is open
    And the pool is failed
    And the engine is not launched again within 299 seconds

  @B-SUPER-035
  Scenario: Nine are none
    Given a pool that restarts at once and never gives up
    And the pool is ready
    When the engine crashes 10 times in a row
    Then the circuit is closed

  @B-SUPER-036
  Scenario: A storm is an alarm
    Given a pool that restarts at once and never gives up
    And the pool is ready
    When the engine crashes 11 times in a row
    Then the log tells of a storm in "chat", as critical, after 10 restarts

  @B-SUPER-037
  Scenario: Storms and restarts are measured
    Given metrics are collected
    And a pool that restarts at once and never gives up
    And the pool is ready
    When the engine crashes 11 times in a row
    Then the metrics count 1 storm of "chat", and 10 restarts within the last minute

  @B-SUPER-037
  Scenario: What is long ago is not in the rate
    Given metrics are collected
    And the pool is ready
    And the engine crashes 3 times in a row
    When 90 seconds have passed
    Then the metrics count no storm of "chat", and 0 restarts within the last minute

  @B-SUPER-038
  Scenario Outline: A storm has the name of what makes it, and a remedy
    Given a pool that restarts at once and never gives up
    And the pool is ready
    When the engine <dies> 11 times in a row
    Then the log tells of the storm "<storm>", and suggests "<remedy>"

    Examples:
      | dies                         | storm        | remedy                 |
      | is killed for want of memory | oom_storm    | give it more memory    |
      | crashes with a CUDA error    | cuda_storm   | look at the device     |
      | crashes                      | signal_storm | look for who sends the signal |

  @B-SUPER-038
  Scenario: A storm of many kinds of failures has no cause of its own
    Given a pool that restarts at once and never gives up
    And the pool is ready
    And the engine crashes 4 times in a row
    And the engine crashes with a CUDA error 4 times in a row
    When the engine is killed for want of memory 3 times in a row
    Then the log tells of the storm "crash_storm", and suggests "look at the logs kept of its last runs"

  @B-SUPER-039 @B-SUPER-x4
  Scenario: An operator allows one start, and that is the only one
    Given the pool has been in a storm
    And an operator allows one start
    When the trial fails
    Then the engine is not launched again within 299 seconds
    And the engine has been launched 12 times

  @B-SUPER-039
  Scenario: One start that an operator allowed does not make the storm forgotten
    Given the pool has been in a storm
    When an operator allows one start
    And 60 seconds have passed
    Then the pool is ready
    And the pool has counted 11 restarts, and that is kept
    And the circuit is half-open

  @B-SUPER-039
  Scenario: It closes the circuit if it runs long enough, as any trial does
    Given the pool has been in a storm
    And an operator allows one start
    When the trial has run for 60 seconds
    Then the circuit is closed

  # --- many pools at once ---

  @V6 @S13
  Scenario: A thousand engines that crash at once are started one after the other
    Given 1000 pools are ready
    When all their engines crash at once
    Then within 2 minutes every pool is ready again
    And there were never more than 20 restarts at once, and 10 in each second after that

  @V6 @S13
  Scenario: Operators who want all of them at once do not change that
    Given 200 pools are ready
    And all their engines crash at once
    When an operator starts every pool
    Then within 20 seconds every pool is ready again
    And there were never more than 20 restarts at once, and 10 in each second after that

  @V6
  Scenario: Pools that crash all the time do not keep the others from their turn
    Given 300 pools that restart at once and never become stable
    And the pool is ready
    When the engine crashes
    Then the engine is launched again after 0 seconds to 32 seconds
