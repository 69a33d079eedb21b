Feature: A model is spread over several devices

  @B-HETERO-004
  Scenario: Nothing is split that nobody wants split
    Given a pool that may use the devices "0,1"
    When the pool is started
    Then the engine is told of no split

  @B-HETERO-001 @B-HETERO-005
  Scenario: The engine is told the shares that were declared
    Given a pool that splits 40 GB over the devices "0,1", 75 to 25
    When the pool is started
    Then the engine is told to split 0.75 to 0.25

  @B-HETERO-002
  Scenario: What does not fit on the smaller device goes to the other
    Given device 1 has 10 GB free
    And a pool that splits 40 GB over the devices "0,1", 50 to 50
    When the pool is started
    Then the engine is told to split 0.75 to 0.25

  @B-HETERO-003 @B-HETERO-006
  Scenario: A model that fits nowhere is refused with what is missing
    Given a pool that splits 170 GB over the devices "0,1", 50 to 50
    When the pool is started
    Then the start fails in the preflight, and says "10.0 GiB (10737418240 bytes) too few"
    And the pool is failed
