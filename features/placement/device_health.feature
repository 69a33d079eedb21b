Feature: A device that fails is left alone until it is well

  Background:
    Given the pools "chat" and "embed" serve on device 0
    And the pool "code" serves on device 1

  @B-GPU-x2
  Scenario: The pools on it do not serve any more, the others do
    When device 0 falls off the bus
    Then "chat" and "embed" are failed, because of the device
    And "code" serves

  @B-GPU-x2
  Scenario: No start is tried on it
    Given device 0 has fallen off the bus
    When an hour passes
    Then no engine has been launched since
    And "code" serves

  @B-GPU-x2 @B-METRICS-005
  Scenario: Once it has been well for a minute, its pools come back
    Given metrics are collected
    And device 0 is lost
    When device 0 answers again, and 2 minutes pass
    Then "chat" and "embed" serve again, one after the other
    And the metrics count 1 reset of a device

  @B-GPU-x2
  Scenario: An operator may release it before that
    Given device 0 has fallen off the bus
    When the operator releases device 0
    Then "chat" and "embed" serve again, one after the other

  @B-GPU-x2 @B-SUPER-x1
  Scenario: What an engine brought upon itself isolates nothing
    When device 0 reports a fault that an application has made
    Then "chat" serves
    And that fault is logged

  @B-GPU-x1 @B-METRICS-003 @B-METRICS-004
  Scenario: The memory of every device can be watched
    Given metrics are collected
    When 15 seconds have passed
    Then the metrics say that each device has 80 GB, all of them free
