Feature: Which devices a pool may use

  @B-REG-050 @B-REG-051
  Scenario: The devices of a pool can be read
    When the device mask of "chat" becomes "0,1"
    Then the device mask of "chat" is "0,1"

  @B-REG-050
  Scenario: What a pool declares is what the registry says
    Given a pool that may use the devices "0,1"
    When the pool is added
    Then the device mask of "chat" is "0,1"

  @B-REG-052
  Scenario: A pool without a mask may use every device
    When "chat" is registered
    Then "chat" has no device mask
