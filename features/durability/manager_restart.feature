Feature: A manager may be killed at any time
  Whoever comes after it knows what it knew, and goes on where it was. No engine notices, and no time that was to be
  waited becomes longer or shorter.

  Background:
    Given a pool that is to outlive its manager

  @S5 @S17 @V1
  Scenario: An engine that serves goes on serving
    Given the pool is ready
    When its manager is killed, and another one takes over
    Then the same engine goes on serving
    And the pool has counted no failures

  @S5 @S17 @real
  Scenario: That is so however a program is killed
    Given another program whose manager keeps the pool ready
    When that program is killed, and we take the pool over
    Then the same engine goes on serving

  @S3 @V1
  Scenario: An engine that is loading goes on loading
    Given an engine that takes 30 seconds to load
    And the pool is being started
    And 10 seconds have passed
    And its manager is killed, and another one takes over
    When 21 seconds have passed
    Then the same engine goes on serving
    And the engine has been launched 1 time

  @S16 @V3
  Scenario: An engine that dies while no manager runs has failed, and nobody knows of what
    Given the pool is ready
    When its manager is killed, the engine crashes, and another manager takes over
    Then the failure is of the class "unknown"
    And the pool has counted 1 failure, and that is kept
    And the engine is launched again after about 1 second

  # --- leases ---

  @S9 @S17
  Scenario: The lease of a client is still counted
    Given a pool with 1 slot
    And the pool is ready
    And the client "ana" holds a lease
    When its manager is killed, and another one takes over
    Then the client "ana" still holds a lease
    And "ben" finds no free slot

  @S9
  Scenario: A client gives her lease back to whatever manager there is
    Given the pool is ready
    And the client "ana" holds a lease
    And its manager is killed, and another one takes over
    When the client "ana" gives her lease back
    Then no client holds a lease

  @S9 @S17
  Scenario: No number of a lease is given out again
    Given a pool with 2 slots
    And the pool is ready
    And the client "ana" holds a lease
    When its manager is killed, and another one takes over
    Then "ben" can take a lease
    And the lease of "ben" has a higher number than that of "ana"

  # --- failures and what they lead to ---

  @B-SUPER-x6 @S14
  Scenario: What is left of the wait before a start goes on
    Given the pool is ready
    And the engine crashes 3 times in a row
    And 2 seconds have passed
    When its manager is killed, and another one takes over after 1 second
    Then the engine is launched again after about 4 seconds

  @B-SUPER-x6
  Scenario: A wait that is over by then is over
    Given the pool is ready
    And the engine crashes 3 times in a row
    When its manager is killed, and another one takes over after 60 seconds
    Then the pool is ready

  @B-SUPER-x6 @S14
  Scenario: Failures are counted on
    Given the pool is ready
    And the engine crashes 4 times in a row
    And its manager is killed, and another one takes over
    When the engine crashes
    Then the circuit is open

  @B-SUPER-x6 @S15
  Scenario: An open circuit stays open, for the time that is left
    Given the circuit has opened
    And 100 seconds have passed
    When its manager is killed, and another one takes over after 10 seconds
    Then the circuit is open
    And the pool says "it allows one trial in 3 min 10 s"
    And the engine is launched again after 300 seconds

  @B-SUPER-x6 @S15
  Scenario: A circuit whose trial is due by then allows it at once
    Given the circuit has opened
    When its manager is killed, and another one takes over after 400 seconds
    Then the circuit is half-open
    And the pool is ready

  @B-SUPER-x6 @V5
  Scenario: A trial under way is the same trial
    Given the circuit has opened
    And the trial has run for 30 seconds
    And its manager is killed, and another one takes over
    When 30 seconds have passed
    Then the circuit is closed
    And the same engine goes on serving

  @B-SUPER-x6 @B-SUPER-x7
  Scenario: A device that was given up stays given up
    Given the pools "chat", "embed" and "code" serve on device 0
    And "embed" and "code" crash with a CUDA error
    And 5 seconds have passed
    When its manager is killed, and another one takes over
    Then the circuit of device 0 is open
    And "embed" and "code" are failed

  @B-SUPER-x6 @B-SUPER-033 @S13
  Scenario: The window of restarts does not begin anew
    Given a pool that restarts at once and never gives up
    And the pool is ready
    And the engine crashes 11 times, each time after 4 seconds
    When its manager is killed, and another one takes over
    Then the engine is launched again after 20 seconds

  @B-SUPER-x6 @S13 @V6
  Scenario: Nor does what a host can take, and every pool has its turn when it was to have it
    Given 200 pools are ready
    And all their engines crash at once
    And 5 seconds have passed
    When its manager is killed, and another one takes over
    Then within 20 seconds every pool is ready again
    And there were never more than 20 restarts at once, and 10 in each second after that

  # --- the host ---

  @B-SUPER-x6
  Scenario: After a reboot of the host engines are started again, and that is no failure
    Given the pool is ready
    When the host goes down, and is back after 60 seconds
    Then another engine serves
    And the pool has counted no failures

  @B-SUPER-x6
  Scenario: A reboot takes nothing from the time that a circuit is open, and adds nothing
    Given the circuit has opened
    And 100 seconds have passed
    When the host goes down, and is back after 50 seconds
    Then the circuit is open
    And the pool says "it allows one trial in 2 min 30 s"

  @B-SUPER-x6
  Scenario: A clock that was set back makes no time longer
    Given the circuit has opened
    When the host goes down, and its clock is a day behind when it is back
    Then the pool says "it allows one trial in 5 min"
