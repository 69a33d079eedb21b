Feature: How much work a pool can take
  Free slots are what an orchestrator counts on: there are never more of them than slots, nor less than none.

  @B-REG-060 @B-REG-061 @B-REG-062 @B-REG-063 @B-REG-064
  Scenario Outline: Free slots stay between none and all
    When "chat" is reported to have <reported> of <total> slots free
    Then "chat" has <free> of <total> slots free

    Examples: within bounds, at the bounds, beyond them
      | reported | total | free |
      | 3        | 4     | 3    |
      | 0        | 4     | 0    |
      | 4        | 4     | 4    |
      | 9        | 4     | 4    |
      | -2       | 4     | 0    |

  @B-REG-063
  Scenario: When slots are taken away, the free ones follow
    Given "chat" has 4 of 4 slots free
    When "chat" is reported to have a total of 2 slots
    Then "chat" has 2 of 2 slots free
