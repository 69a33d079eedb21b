Feature: Everything at once

  @B-REG-120 @B-REG-122
  Scenario: A snapshot has every pool, in the order of their names
    Given "code" is registered
    And "vision" is registered
    And "chat" is registered
    When a snapshot is taken
    Then it lists "chat", "code", "vision"

  @B-REG-121
  Scenario: A snapshot has all that is known of a pool
    Given these are known of "chat":
      | live              | yes           |
      | ready             | no            |
      | draining          | yes           |
      | last error        | out of memory |
      | heartbeat         | 1795437000250 |
      | version           | 7             |
      | engine version    | b4321         |
      | engine digest     | sha256:ab     |
      | engine catalog id | llama-cpu     |
      | device mask       | 0,1           |
      | slots             | 4             |
      | free slots        | 2             |
    When a snapshot is taken
    Then it has all of that about "chat"

  @B-REG-123
  Scenario: A snapshot of nothing is empty
    When a snapshot is taken
    Then it lists nothing
