Feature: Partial reports
  Each reporter tells what it knows; nobody has to know everything.

  @B-REG-110 @B-REG-111
  Scenario: What is told is merged into what is known
    Given these are known of "chat":
      | engine version | b4321         |
      | last error     | out of memory |
      | slots          | 4             |
    When these are reported of "chat":
      | engine version | b5000 |
      | device mask    | 0     |
    Then the registry says of "chat":
      | engine version | b5000         |
      | device mask    | 0             |
      | last error     | out of memory |
      | slots          | 4             |

  @B-REG-112
  Scenario: A report about a new pool makes it known
    When these are reported of "chat":
      | engine version | b4321 |
    Then the registry knows "chat"
    And the engine version of "chat" is "b4321"
