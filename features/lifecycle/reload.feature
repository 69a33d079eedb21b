Feature: Changing the model of a pool
  Whoever changes the model of a pool finds it on the new one, proven to work, or on the old one, serving as
  before; and is told which, and why.

  Background:
    Given a pool that may use the devices "0,1"
    And a pool with 4 slots
    And the pool is ready

  @B-RELOAD-001
  Scenario: The work in flight is finished first
    Given "ana" holds a lease
    And the pool is changing its model
    When "ana" gives her lease back after 3 seconds
    Then the change under way succeeds
    And nothing was done to the new model or the old engine in the first 3 seconds

  @B-RELOAD-001
  Scenario: Meanwhile there is no new work
    Given "ana" holds a lease
    And the pool is changing its model
    When "ben" asks for a lease
    Then "ben" is refused because the pool is draining

  @B-RELOAD-001 @B-RELOAD-002 @B-RELOAD-003 @B-RELOAD-004 @B-RELOAD-005
  Scenario: A change is made in this order
    When the model is changed
    Then these things were done for it, in this order:
      | put the model in place      |
      | end the engine              |
      | launch the engine           |
      | ask for health              |
      | say that the pool is ready  |

  @B-RELOAD-002
  Scenario: The new model is put in place, and the new engine gets it
    When the model is changed
    Then the new model was put in place
    And the engine that serves was launched with the new model

  @B-RELOAD-003 @B-RELOAD-004
  Scenario: One engine takes the place of the other
    When the model is changed
    Then the first engine is gone
    And the pid file names the engine that serves

  @B-RELOAD-005
  Scenario: Until the new engine is well, nobody is told that the pool is ready
    Given the new model takes 12 seconds to load
    And the pool is changing its model
    When 11 seconds have passed
    Then the registry says that "chat" is neither live nor ready

  @B-RELOAD-006
  Scenario: As soon as the new engine is well, the pool serves
    Given the new model takes 12 seconds to load
    And the pool is changing its model
    When 13 seconds have passed
    Then the registry says that "chat" is live and ready
    And "ben" can take a lease

  @B-RELOAD-007 @B-RELOAD-011
  Scenario Outline: A new model that does not work gives way to the old one
    Given the new model <fails>
    When the model is changed
    Then the change of model fails, and says "<words>"
    And the pool serves the old model, with one engine
    And no failure of the pool is counted

    Examples:
      | fails                                   | words                       |
      | cannot be loaded                        | exit code 1                 |
      | is never ready                          | no healthy answer           |
      | needs an engine that cannot be executed | something is not as it      |
      | crashes 2 seconds after it was ready    | exit code 1                 |

  @B-RELOAD-008
  Scenario: The version of the engine is told as it is now
    When the pool is declared with version "2" of the engine and the new model
    Then the engine version of "chat" is "2"
    And the handoff has the engine version "2"

  @B-RELOAD-009
  Scenario: The name and the devices stay
    When the model is changed
    Then the device mask of "chat" is "0,1"
    And the handoff is that of "chat", for the devices "0,1"
    And the engine that serves sees the devices "0,1"

  @B-RELOAD-010
  Scenario: What is there already need not be changed
    Given the pool has the new model
    When the model is changed
    Then that succeeds at once
    And there have been 2 engines
    And the new model was put in place once

  @B-RELOAD-012
  Scenario: Changes that were made are measured
    Given metrics are collected
    And the new model takes 3 seconds to load
    When the model is changed
    Then the metrics count 1 change of model of "chat"
    And the metrics say that it took about 8000 milliseconds

  @B-RELOAD-013
  Scenario: Changes that were not made are counted by their reason
    Given metrics are collected
    And the new model cannot be loaded
    When the model is changed
    Then the metrics count 1 failed change of model of "chat", because of "exit"

  @B-RELOAD-014
  Scenario: Work that takes too long calls the change off
    Given "ana" holds a lease
    When the model is changed, with 5 seconds for the work in flight
    Then the change of model fails after 5 seconds, and says "leases were left"
    And the lease of "ana" goes on
    And the pool serves the old model, with one engine

  @B-RELOAD-x1
  Scenario: A new model that cannot be put in place leaves the old one untouched
    Given the new model cannot be put in place
    When the model is changed
    Then the change of model fails, and says "the disk is full"
    And the first engine goes on serving

  @B-RELOAD-x3
  Scenario: Where the old model does not work any more either, it is told, and tried again
    Given the new model cannot be loaded
    And from now on the old model cannot be loaded
    When the model is changed
    Then the change of model fails, and tells of both models
    And the pool is backing off
    And the pool is to serve the old model

  @B-RELOAD-x3
  Scenario: An old model that works again serves again
    Given the new model cannot be loaded
    And from now on the old model cannot be loaded
    And the model was to be changed
    When the old model works again and 10 seconds have passed
    Then the pool serves the old model, with one engine

  @B-RELOAD-x4
  Scenario: The new model can come while the old one serves
    Given the new model takes 60 seconds to be put in place
    And the pool is changing its model once the new one is there
    When 59 seconds have passed
    Then "ben" can take a lease
    And the first engine goes on serving

  @B-RELOAD-x5
  Scenario: Who wants the same waits for the same
    Given the new model takes 12 seconds to load
    And the pool is changing its model
    When the model is changed
    Then the change of model succeeds
    And the change under way succeeds
    And there have been 2 engines

  @B-RELOAD-x5
  Scenario: Who wants another model has to wait
    Given the new model takes 12 seconds to load
    And the pool is changing its model
    When somebody asks for another model
    Then that is refused, and the model under way is named

  @B-RELOAD-x5
  Scenario: A change can be called off while the old engine lives
    Given "ana" holds a lease
    And the pool is changing its model
    When the pool is resumed
    Then the change of model was superseded by a resume
    And the first engine goes on serving
    And "ben" can take a lease

  @B-RELOAD-x5
  Scenario: Once the old engine has ended, it is too late to call a change off
    Given the new model takes 12 seconds to load
    And the pool is changing its model
    When somebody tries to resume the pool
    Then that is not possible
    And the change under way succeeds
