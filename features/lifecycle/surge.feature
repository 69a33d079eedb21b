Feature: Changing the model without a gap
  Where there is room for two engines, the new one starts beside the old one and takes over when it is well.
  Whoever comes meanwhile is served.

  Background:
    Given an engine that needs 6 GB of a device with 16 GB
    And a pool with 4 slots
    And the pool is ready

  @B-RELOAD-x2
  Scenario: Nobody is refused while the model is changed
    Given the new model takes 12 seconds to load
    And clients come ten times a second
    When the model is changed without a gap
    Then the change of model succeeds
    And no client was refused
    And clients were served by the old engine, and then by the new one

  @B-RELOAD-x2
  Scenario: The old engine finishes its work
    Given "ana" holds a lease
    When the model is changed without a gap
    Then the lease of "ana" goes on
    And "ben" can take a lease
    And the lease of "ben" is on another engine than that of "ana"

  @B-RELOAD-x2
  Scenario: An engine with nothing left to do ends
    Given "ana" holds a lease
    And the model was changed without a gap
    When "ana" gives her lease back
    Then the first engine is gone
    And the pool serves the new model, with one engine

  @B-RELOAD-x2
  Scenario: The old engine has its time, and no more
    Given "ana" holds a lease
    And the model was changed without a gap, with 5 seconds for the work in flight
    When 6 seconds have passed
    Then the lease of "ana" is lost
    And the pool serves the new model, with one engine

  @B-RELOAD-x2
  Scenario: Where there is no room for two, it is said how much is missing
    Given another program takes 8 GB of the device
    When the model is changed without a gap
    Then that is refused, as 4 GB are missing
    And the first engine goes on serving

  @B-RELOAD-x2
  Scenario: Where there is no room for two, another way can be taken
    Given another program takes 8 GB of the device
    When the model is changed without a gap, or else with one
    Then the change of model succeeds
    And the pool serves the new model, with one engine

  @B-RELOAD-x2 @B-RELOAD-007
  Scenario Outline: A new model that does not work is noticed by nobody
    Given the new model <fails>
    And clients come ten times a second
    When the model is changed without a gap
    Then the change of model fails
    And no client was refused
    And the first engine goes on serving
    And no failure of the pool is counted

    Examples:
      | fails                                |
      | cannot be loaded                     |
      | is never ready                       |
      | cannot be put in place               |
      | crashes 2 seconds after it was ready |

  @B-RELOAD-x2 @B-RELOAD-x5
  Scenario: A change can be called off while the new engine proves itself
    Given the pool is changing its model without a gap
    And 2 seconds have passed
    When the pool is resumed
    Then the change of model was superseded by a resume
    And the first engine goes on serving
