Feature: The handoff of a ready pool
  Other programs find a ready pool by a document in a file: where it is reached, and what serves there.

  @B-PRELOAD-040 @B-PRELOAD-041 @B-PRELOAD-042
  Scenario: The handoff says all there is to know
    Given a pool that may use the devices "0,1"
    And a pool with 4 slots
    And an engine of version "b4321" with the arguments "--ctx-size 4096"
    When the pool is started
    Then the handoff says:
      | engine            | memory               |
      | engine version    | b4321                |
      | url               | where it is reached  |
      | pool id           | chat                 |
      | replica id        | 0                    |
      | model             | where it lies        |
      | flags             | --ctx-size 4096      |
      | provisioning mode | memory               |
      | device mask       | 0,1                  |
      | slots             | 4                    |

  @B-PRELOAD-043
  Scenario: The handoff can be read by people
    When the pool is started
    Then the handoff is written one fact to a line, indented

  @B-PRELOAD-044
  Scenario: Every pool has a handoff of its own
    Given the pool is ready
    When another pool, "code", is started
    Then each of "chat" and "code" has a handoff with its own name

  @B-PRELOAD-041
  Scenario: A pool that has stopped has no handoff
    Given the pool is ready
    When the pool is stopped
    Then there is no handoff
