Feature: When a pool was last heard of
  A heartbeat is a whole number of milliseconds since the beginning of 1970, as programs everywhere count.

  Background:
    Given "chat" is registered

  @B-REG-020 @B-REG-021
  Scenario: A heartbeat tells the time to the millisecond
    Given it is 12:30:00.250 on 2026-11-23
    When "chat" is heard of
    Then the heartbeat of "chat" is 1795437000250 milliseconds

  @B-REG-021
  Scenario: A later heartbeat takes the place of an earlier one
    Given it is 12:30:00.250 on 2026-11-23
    And "chat" was heard of
    When "chat" is heard of 4 seconds later
    Then the heartbeat of "chat" is 1795437004250 milliseconds

  @B-REG-022
  Scenario: A pool that was never heard of has no heartbeat
    When "chat" is reported live and ready
    Then "chat" has no heartbeat
