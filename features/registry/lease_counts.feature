Feature: How many leases a pool has
  For pools whose leases are kept elsewhere, the registry counts them.

  @B-REG-090 @B-REG-091
  Scenario: A lease more
    Given 2 leases are counted on "chat"
    When a lease is allocated on "chat"
    Then the registry answers 3 leases
    And the registry counts 3 leases on "chat"

  @B-REG-092 @B-REG-093
  Scenario: A lease less
    Given 2 leases are counted on "chat"
    When a lease is released on "chat"
    Then the registry answers 1 lease
    And the registry counts 1 lease on "chat"

  @B-REG-094
  Scenario: There is never less than none
    Given no leases are counted on "chat"
    When a lease is released on "chat"
    Then the registry answers no leases
    And the registry counts no leases on "chat"

  @B-REG-095
  Scenario: A pool nobody knows has no leases
    When a lease is released on "ghost"
    Then the registry answers no leases
    And the registry does not know "ghost"

  @B-REG-096
  Scenario: Pools are counted each for itself
    Given 2 leases are counted on "chat"
    When a lease is allocated on "code"
    Then the registry counts 1 lease on "code"
    And the registry counts 2 leases on "chat"
