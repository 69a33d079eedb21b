Feature: Pools come and go

  @B-REG-080
  Scenario: A new pool is registered
    When "chat" is registered
    Then the registry confirms it
    And the registry knows "chat"

  @B-REG-081 @B-REG-082
  Scenario: A pool is not registered twice
    Given "chat" is known as live and ready
    When "chat" is registered
    Then the registry says that this was nothing new
    And the registry says that "chat" is live and ready

  @B-REG-083
  Scenario: A pool that goes is forgotten
    Given "chat" is registered
    When "chat" is deregistered
    Then the registry confirms it
    And the registry does not know "chat"

  @B-REG-084
  Scenario: Only what is there can go
    Given "chat" is registered
    When "ghost" is deregistered
    Then the registry says that this was nothing new
    And the registry knows "chat"

  @B-REG-085
  Scenario: A pool that comes back begins anew
    Given "chat" is known as live and ready
    And "chat" was deregistered
    When "chat" is registered
    Then the registry confirms it
    And the registry says that "chat" is neither live nor ready
