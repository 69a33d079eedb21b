Feature: What is known of an engine
  Its version, the digest of its program, and its entry in a catalog become known at different times, from
  different sources.

  @B-REG-040 @B-REG-041 @B-REG-042
  Scenario: What is reported of an engine can be read
    When these are reported of "chat":
      | engine version    | b4321     |
      | engine digest     | sha256:ab |
      | engine catalog id | llama-cpu |
    Then the registry says of "chat":
      | engine version    | b4321     |
      | engine digest     | sha256:ab |
      | engine catalog id | llama-cpu |

  @B-REG-043 @B-REG-044 @B-REG-045
  Scenario Outline: A report touches only what it tells
    Given these are known of "chat":
      | engine version    | b4321     |
      | engine digest     | sha256:ab |
      | engine catalog id | llama-cpu |
    When the <told> of "chat" becomes "new"
    Then the <told> of "chat" is "new"
    And the <other> and the <third> of "chat" are as before

    Examples:
      | told              | other          | third             |
      | engine version    | engine digest  | engine catalog id |
      | engine digest     | engine version | engine catalog id |
      | engine catalog id | engine version | engine digest     |
