Feature: What an operator asked for outlives the manager that was asked
  Whatever was begun is finished, in the time that it had. Nothing that was ended on purpose comes back by itself,
  and nothing that was done on purpose is a failure.

  Background:
    Given a pool that is to outlive its manager

  @B-SUPER-x4
  Scenario: A pool that an operator stopped stays stopped
    Given the pool is ready
    And an operator stops the pool
    When its manager is killed, and another one takes over
    Then the pool is stopped
    And the engine is not launched again within 60 minutes

  @B-SUPER-x4
  Scenario: It stays stopped after a reboot of the host
    Given the pool is ready
    And an operator stops the pool
    When the host goes down, and is back after 60 seconds
    Then the pool is stopped
    And the engine is not launched again within 60 minutes

  @B-SUPER-x4
  Scenario: It stays stopped although its circuit would allow a start by then
    Given the circuit has opened
    And an operator stops the pool
    When its manager is killed, and another one takes over after 60 minutes
    Then the pool is stopped
    And the engine is not launched again within 60 minutes

  @B-SUPER-x4 @S11
  Scenario: A stop that was begun is finished in its time
    Given an engine that takes its time to end
    And the pool is ready
    And an operator has begun to stop the pool
    And 3 seconds have passed
    When its manager is killed, and another one takes over
    Then the engine was ended by force, 5 seconds after it had been asked to end
    And the pool is stopped
    And the pool has counted no failures

  @B-SUPER-x4 @S11
  Scenario: A drain goes on with the time that is left
    Given the pool is ready
    And the client "ana" holds a lease
    And the pool is draining within 60 seconds
    And 20 seconds have passed
    When its manager is killed, and another one takes over
    Then the pool is draining
    And the pool says that 40 seconds are left

  @B-SUPER-x4 @S11
  Scenario: Its deadline comes when it was to come
    Given the pool is ready
    And the client "ana" holds a lease
    And the pool is draining within 60 seconds
    And its manager is killed, and another one takes over after 58 seconds
    When 2 seconds have passed
    Then the pool is stopped
    And no engine lives

  @B-SUPER-x4 @S9 @S10
  Scenario: A drain ends with the last lease, whoever granted it
    Given the pool is ready
    And the client "ana" holds a lease
    And the pool is draining within 60 seconds
    And its manager is killed, and another one takes over
    When the client "ana" gives her lease back
    Then the pool is stopped

  @B-SUPER-x4 @S12
  Scenario: A change of model is finished
    Given the pool is ready
    And the client "ana" holds a lease
    And the pool is changing its model
    And its manager is killed, and another one takes over
    When the client "ana" gives her lease back
    And 6 seconds have passed
    Then the pool is ready
    And the pool serves "file:/models/better.gguf"

  @B-SUPER-x4
  Scenario: A circuit that an operator has closed stays closed
    Given the circuit has opened
    And an operator resets the circuit
    When its manager is killed, and another one takes over
    Then the circuit is closed
    And the same engine goes on serving
    And the pool has counted no failures

  # --- managers that leave in good order ---

  @B-SUPER-x4
  Scenario: An engine that is to outlive its manager goes on when that is closed
    Given the pool is ready
    And the client "ana" holds a lease
    When its manager is closed, and another one takes over
    Then the same engine goes on serving
    And the client "ana" still holds a lease

  @B-SUPER-x4
  Scenario: An engine that is to end with its manager runs again under the next one
    Given a pool that is to end with its manager
    And the pool is ready
    When its manager is closed, and another one takes over
    Then another engine serves
    And the pool has counted no failures

  @B-SUPER-x4
  Scenario: So it is when its manager is killed
    Given a pool that is to end with its manager
    And the pool is ready
    When its manager is killed, and another one takes over
    Then another engine serves
    And the pool has counted no failures
    And the log tells of no crash

  @B-SUPER-x4
  Scenario: It does not run again where an operator has stopped it
    Given a pool that is to end with its manager
    And the pool is ready
    And an operator stops the pool
    When its manager is closed, and another one takes over
    Then the pool is stopped
    And the engine is not launched again within 60 minutes
