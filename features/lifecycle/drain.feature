Feature: Draining a pool
  Whoever takes a pool out of service lets the work in flight finish, for as long as there is time, and takes
  no more. Then the engine is ended.

  Background:
    Given a pool with 4 slots
    And the pool is ready

  @B-DRAIN-001
  Scenario: A drain shows at once
    Given "ana" holds a lease
    When the pool is asked to drain within 5000 milliseconds
    Then the registry says that "chat" is draining
    And the registry says that "chat" is live but not ready
    And the pool says that 5000 milliseconds are left

  @B-DRAIN-002
  Scenario: A draining pool takes no new work
    Given "ana" holds a lease
    And the pool is draining
    When "ben" asks for a lease
    Then "ben" is refused because the pool is draining

  @B-DRAIN-003
  Scenario: Work in flight goes on
    Given "ana" holds a lease
    And "ben" holds a lease
    And the pool is draining
    When "ana" gives her lease back
    Then the registry counts 1 lease on "chat"
    And the lease of "ben" goes on
    And the registry says that "chat" is draining

  @B-DRAIN-004 @B-DRAIN-006
  Scenario: When the last work is done, the engine is asked to end
    Given "ana" holds a lease
    And the pool is draining
    When "ana" gives her lease back
    Then the drain ends as drained
    And the engine ended when it was asked to

  @B-DRAIN-005
  Scenario: When time is up, the work left is cut off
    Given "ana" holds a lease
    And "ben" holds a lease
    When the pool is asked to drain within 5 seconds
    Then the drain ends as force-stopped, after 5 seconds, with 2 leases left
    And the lease of "ana" is lost

  @B-DRAIN-005 @real
  Scenario: An engine that does not want to end is ended by force when time is up
    Given an engine that ignores being asked to end
    And the pool is ready
    And "ana" holds a lease
    When the pool is asked to drain within 200 milliseconds
    Then the drain ends as force-stopped
    And the engine is gone, and so is its pid file

  @B-DRAIN-007
  Scenario: A drained pool neither lives nor serves
    When the pool has been drained
    Then the registry says that "chat" is neither live nor ready
    And the registry says that "chat" is not draining

  @B-DRAIN-008
  Scenario: A drain of an idle pool takes no time
    When the pool is asked to drain within 30 seconds
    Then the drain ends as drained, after 0 seconds, with no leases left

  @B-DRAIN-009
  Scenario Outline: Drains are measured
    Given metrics are collected
    And "ana" holds a lease for at most <held>
    When the pool has been drained within 5 seconds
    Then the metrics count 1 drain of "chat" that ended as <end>, of <lasted> milliseconds
    And the metrics count <forced> forced stops of "chat"

    Examples:
      | held      | end           | lasted | forced |
      | 2 seconds | drained       | 2000   | 0      |
      | 9 seconds | force_stopped | 5000   | 1      |

  @B-DRAIN-010
  Scenario: A drain that begins with work in flight warns
    Given "ana" holds a lease
    And "ben" holds a lease
    When the pool is asked to drain
    Then a warning says that the drain began with 2 leases

  @B-DRAIN-x1
  Scenario: Between the last work and the end of the engine nothing is waited for
    Given "ana" holds a lease
    And the pool is draining
    When "ana" gives her lease back after 12.345 seconds
    Then the drain ends as drained, after 12.345 seconds, with no leases left

  @B-DRAIN-x2
  Scenario Outline: Of two drains the shorter time counts, for both
    Given "ana" holds a lease
    And the pool is draining within <one>
    When it is asked again to drain within <other>
    Then both drains end as force-stopped, after 5 seconds

    Examples:
      | one        | other      |
      | 60 seconds | 5 seconds  |
      | 5 seconds  | 60 seconds |

  @B-DRAIN-x2
  Scenario Outline: A drain can be called off while there is work
    Given "ana" holds a lease
    And the pool is draining
    When the pool is <called off>
    Then the drain ends as resumed
    And "ben" can take a lease
    And the lease of "ana" goes on

    Examples:
      | called off   |
      | resumed      |
      | started      |

  @B-DRAIN-x2
  Scenario: To drain a pool that does not serve yet is to stop it
    Given an engine that takes 60 seconds to load
    And the pool is being started anew
    When the pool is asked to drain within 30 seconds
    Then the drain ends because nothing served, after 0 seconds
    And the pool is stopped
    And the start was superseded by a drain

  @B-DRAIN-x2
  Scenario: A drain ends a change of model
    Given "ana" holds a lease
    And the pool is changing its model
    When the pool is asked to drain within 5 seconds
    Then the drain ends as force-stopped, after 5 seconds, with 1 lease left
    And the change of model was superseded by a drain

  @B-DRAIN-x3
  Scenario: An engine that dies meanwhile ends the drain
    Given "ana" holds a lease
    And the pool is draining
    When the engine crashes
    Then the drain ends because the engine died, with 1 lease left
    And the lease of "ana" is lost
