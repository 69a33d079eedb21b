Feature: An engine sees the devices that it was given, and no others

  @B-DEVICE-001 @B-DEVICE-002 @B-CONFIG-010
  Scenario Outline: Devices are named by number, by name or in full
    Given a pool that may use the devices "<mask>"
    When the pool is started
    Then the engine sees the devices "<seen>"

    Examples:
      | mask                                          | seen                                     |
      | 0,1                                           | 0,1                                      |
      | GPU0, GPU1                                    | 0,1                                      |
      | GPU-00000000-0000-0000-0000-000000000002      | GPU-00000000-0000-0000-0000-000000000002 |

  @B-DEVICE-005 @B-DEVICE-010
  Scenario: They are numbered as the driver's own tools number them
    Given a pool that may use the devices "1"
    When the pool is started
    Then the engine sees the devices "1", in the order of the bus

  @B-DEVICE-011 @B-DEVICE-012
  Scenario: What the manager itself may see makes no difference
    Given the manager may see the devices "3"
    And a pool that may use the devices "0"
    When the pool is started
    Then the engine sees the devices "0"

  @B-DEVICE-013
  Scenario: The devices of a pool can be read while it runs
    Given a pool that may use the devices "0,1"
    When the pool is started
    Then the device mask of "chat" is "0,1"

  @B-DEVICE-003 @B-CONFIG-011 @B-CONFIG-012
  Scenario: A device that is not there is refused by name
    Given a pool that may use the devices "0,7"
    When the pool is started
    Then the start fails in the preflight, and says "there is no device 7 on this host"
    And the pool is failed

  @B-DEVICE-004
  Scenario: The same device by two names is refused
    Given a pool that may use the devices "1,GPU-00000000-0000-0000-0000-000000000001"
    When the pool is started
    Then the start fails in the preflight, and says "which is there already"
