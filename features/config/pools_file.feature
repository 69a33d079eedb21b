Feature: Pools are declared in a file
  An operator writes down the pools of a host. Whatever is wrong is said at once: where it stands, and what
  would be right.

  @B-CONFIG-x1
  Scenario: What the file says is what the pool is
    Given a pools file:
      """
      [pools.chat]
      slots = 4
      device_mask = "0,1"
      model = "file:models/chat.gguf"
      engine = { binary = "llama-server", profile = "llama.cpp" }
      """
    When the pools of the file are added
    Then "chat" has 4 of 4 slots free
    And the device mask of "chat" is "0,1"

  @B-CONFIG-x1
  Scenario Outline: A mistake is told with its place and with what is valid
    Given a pools file that says "<line>" about "chat"
    When the file is read
    Then it is refused, naming the file, "<key>" and "<valid>"

    Examples: a wrong value, unknown names, contradictions
      | line                                 | key                     | valid                              |
      | slots = 0                            | pools.chat.slots        | must be a whole number from 1      |
      | slot = 4                             | pools.chat.slot         | did you mean 'slots'               |
      | launcher = "lokal"                   | pools.chat.launcher     | did you mean 'local'               |
      | device_mask = "0,0"                  | pools.chat.device_mask  | there twice                        |
      | limits.start = 9000                  | pools.chat.limits.start | must not exceed start_hard         |
      | backoff.initial = 90                 | pools.chat.backoff.initial | must not exceed maximum         |
      | limits.drain = -1                    | pools.chat.limits.drain | must be a number of seconds        |

  @B-CONFIG-x1
  Scenario: All mistakes are told at once
    Given a pools file:
      """
      [pools.chat]
      slots = 0
      modell = "file:models/chat.gguf"
      engine = { profile = "llama.cpp" }
      """
    When the file is read
    Then it is refused, naming "pools.chat.slots", "pools.chat.modell" and "pools.chat.engine.binary"
