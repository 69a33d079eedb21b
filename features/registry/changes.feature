Feature: Following what changes
  A reader need not ask again and again: every change has a number, and a reader that comes back says which
  one it saw last.

  @B-REG-x3
  Scenario: A reader that comes back gets what it missed, in order
    Given a reader that has seen every change so far
    When "chat" comes, serves, and goes
    Then the reader gets these changes, numbered without a gap:
      | registered   |
      | changed      |
      | deregistered |

  @B-REG-x3
  Scenario: A reader that waits is told at once
    Given a reader that waits for the next change
    When "chat" is registered
    Then the reader has been told that "chat" was registered

  @B-REG-x3
  Scenario: A reader that stayed away too long is told so
    Given a reader that has seen every change so far
    And only the last 10 changes are kept
    When "chat" changes 20 times
    Then the reader is told that it has missed some
    And it can go on from a snapshot
