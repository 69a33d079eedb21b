Feature: Which pools are draining

  @B-REG-070
  Scenario: A pool that begins to drain is marked
    Given "chat" is registered
    When "chat" is reported draining
    Then the registry says that "chat" is draining

  @B-REG-071
  Scenario: The mark goes when the drain is over
    Given "chat" was reported draining
    When "chat" is reported not draining
    Then the registry says that "chat" is not draining

  @B-REG-072
  Scenario: A new pool is not draining
    When "chat" is registered
    Then the registry says that "chat" is not draining

  @B-REG-073
  Scenario: A pool nobody knows is not draining
    Given "chat" was reported draining
    When somebody asks for "ghost"
    Then the registry says that "ghost" is not draining
