Feature: A pool becomes ready by its handoff
  Whoever has started an engine hands it off with a document. The registry takes from it what it needs.

  @B-REG-100
  Scenario: A pool that is handed off serves
    Given "chat" is known as neither live nor ready
    When "chat" is handed off
    Then the registry says that "chat" is live and ready

  @B-REG-101 @B-REG-102 @B-REG-103
  Scenario: What the handoff tells is taken over
    When "chat" is handed off with:
      | engine_version | b4321 |
      | device_mask    | 0,1   |
      | slots          | 4     |
    Then the registry says of "chat":
      | engine version | b4321 |
      | device mask    | 0,1   |
      | slots          | 4     |

  @B-REG-101 @B-REG-102 @B-REG-103
  Scenario: What the handoff does not tell is left as it is
    Given these are known of "chat":
      | engine version | b4321 |
      | device mask    | 0,1   |
      | slots          | 4     |
    When "chat" is handed off
    Then the registry says of "chat":
      | engine version | b4321 |
      | device mask    | 0,1   |
      | slots          | 4     |

  @B-REG-104
  Scenario: With the handoff the last error is over
    Given the error "out of memory" of "chat" was recorded
    When "chat" is handed off
    Then "chat" has no last error

  @B-REG-105
  Scenario: The handoff is a sign of life
    Given it is 12:30:00.250 on 2026-11-23
    When "chat" is handed off
    Then the heartbeat of "chat" is 1795437000250 milliseconds

  @B-REG-106
  Scenario: What the registry does not understand is ignored
    When "chat" is handed off with:
      | favourite_colour | blue  |
      | engine_version   | b4321 |
    Then the registry says that "chat" is live and ready
    And the engine version of "chat" is "b4321"

  @B-REG-107
  Scenario Outline: A handoff that cannot be right changes nothing
    Given "chat" is known as neither live nor ready
    When "chat" is handed off with <mistake>
    Then the handoff is refused because of its <field>
    And the registry says that "chat" is neither live nor ready

    Examples:
      | mistake                        | field          |
      | a word where slots are counted | slots          |
      | half a slot                    | slots          |
      | a number as engine version     | engine_version |
      | a list as device mask          | device_mask    |
