Feature: A circuit breaker around any operation
  Whatever may be down can be guarded, not only engines: after too many failures in a row nobody asks in vain,
  and from time to time one caller finds out for all whether it is up again.

  Background:
    Given a catalogue behind a circuit breaker that opens after 3 failures, for 30 seconds

  @B-SUPER-x5
  Scenario: What is down is left in peace
    Given the catalogue is down
    When 3 callers ask it in turn
    And another caller asks it
    Then that caller is refused, and may come back in 30 seconds
    And the catalogue has been asked 3 times

  @B-SUPER-x5
  Scenario: What is up again is used again
    Given the catalogue has been given up
    And the catalogue is up again
    When another caller asks it after 30 seconds
    Then that caller gets an answer
    And the circuit breaker says that the circuit is closed

  @B-SUPER-x5
  Scenario: What is still down is left in peace for longer
    Given the catalogue has been given up
    When another caller asks it after 30 seconds
    And another caller asks it
    Then that caller is refused, and may come back in 60 seconds

  @B-SUPER-x5
  Scenario Outline: Of many callers at once one finds out for all
    Given the catalogue has been given up
    And the catalogue is up again
    When 8 callers ask it at once from <where> after 30 seconds
    Then one of them gets an answer and the others are refused

    Examples:
      | where    |
      | threads  |
      | tasks    |

  @B-SUPER-x5
  Scenario: Who gives up finding out leaves that to the next
    Given the catalogue has been given up
    And the catalogue is up again
    And a caller has asked it after 30 seconds and gone away before the answer
    When another caller asks it
    Then that caller gets an answer
