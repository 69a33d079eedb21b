Feature: Is a pool alive, and does it serve?
  Whoever places work asks the registry first. A pool's engine may live and yet not serve: it may be loading
  its model, or finishing its last work.

  @B-REG-001 @B-REG-002
  Scenario Outline: Being alive and being ready are told apart
    Given "chat" is known as <before>
    When "chat" is reported <health>
    Then the registry says that "chat" is <health>

    Examples:
      | before                 | health                 |
      | neither live nor ready | live and ready         |
      | live and ready         | live but not ready     |
      | live but not ready     | neither live nor ready |

  @B-REG-003
  Scenario: Nothing is known of a pool that nobody registered
    Given "chat" is registered
    When somebody asks for "ghost"
    Then the registry knows nothing of it

  @B-REG-004
  Scenario: A new pool is neither alive nor ready
    When "chat" is registered
    Then the registry says that "chat" is neither live nor ready
