Feature: Leases
  A lease is one unit of admitted work, with a holder. It ends when it is given back, when its time is over, or
  when its engine is gone.

  Background:
    Given a pool with 2 slots
    And the pool is ready

  @B-REG-x1
  Scenario: A lease tells who holds it, what for, since when and for how long
    When "ana" takes a lease for "embedding", for at most 30 seconds
    Then her lease names "ana" and "embedding"
    And it was taken now and ends in 30 seconds

  @B-REG-x1
  Scenario: A later lease has a higher number, whatever happened between
    Given "ana" has had a lease
    And the pool was started anew
    When "ben" takes a lease
    Then the lease of "ben" has a higher number than that of "ana"

  @B-REG-x1
  Scenario: A lease is given back once
    Given "ana" holds a lease
    And "ben" holds a lease
    When "ana" gives her lease back twice
    Then the registry counts 1 lease on "chat"

  @B-REG-x1
  Scenario: The count is that of the leases there are
    Given "ana" holds a lease
    When "ben" takes a lease
    Then the registry counts 2 leases on "chat"
    And "chat" has 0 of 2 slots free

  @B-REG-x2
  Scenario: A lease whose time is over is taken back, and that is reported
    Given "ana" holds a lease for at most 30 seconds
    When 30 seconds have passed
    Then the lease of "ana" has expired
    And the registry counts no leases on "chat"
    And it is reported that the lease of "ana" expired

  @B-REG-x2
  Scenario: A drain tells whom it waits for
    Given "ana" has held a lease for 10 seconds
    When the pool is asked to drain
    Then the pool says that it waits for "ana", since 10 seconds
