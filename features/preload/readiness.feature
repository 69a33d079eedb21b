Feature: A pool is ready when its engine says so
  Not when the process is there, and not later than need be.

  @B-PRELOAD-010 @B-PRELOAD-011 @real
  Scenario: An engine that says yes is ready
    Given an engine that answers 200 when asked how it is
    When the pool is started
    Then the pool is ready

  @B-PRELOAD-011 @real
  Scenario Outline: Only a plain yes counts
    Given an engine that answers <answer> when asked how it is
    When the pool is started, with 500 milliseconds to become ready
    Then the start fails in the health check

    Examples:
      | answer                    |
      | 204                       |
      | 503                       |
      | a redirect to a good page |
      | nonsense                  |

  @B-PRELOAD-011 @real
  Scenario: An engine that speaks an old HTTP is understood
    Given an engine that speaks HTTP 1.0
    When the pool is started
    Then the pool is ready

  @B-PRELOAD-010 @real
  Scenario: An engine is asked where it wants to be asked
    Given an engine that answers under another path only
    When the pool is started
    Then the pool is ready

  @B-PRELOAD-012 @B-PRELOAD-013 @B-PRELOAD-x2
  Scenario Outline: An engine that loads is asked often, and less often as time goes by
    Given an engine that takes <loading> to load
    And a pool that may take 10 minutes to become ready
    When the pool is started
    Then it is ready at most <later> after its engine
    And at most <questions> questions were asked

    Examples:
      | loading      | later            | questions |
      | 0.2 seconds  | 10 milliseconds  | 25        |
      | 5 seconds    | 50 milliseconds  | 300       |
      | 50 seconds   | 100 milliseconds | 1000      |
      | 300 seconds  | 500 milliseconds | 1600      |

  @B-PRELOAD-x2
  Scenario: An engine that says something is asked at once
    Given an engine that takes 300 seconds to load
    And it says so at that moment
    And a pool that may take 10 minutes to become ready
    When the pool is started
    Then it is ready at most 10 milliseconds after its engine

  @B-PRELOAD-014
  Scenario: An engine that is silent for two minutes is given up
    Given an engine that never becomes ready
    When the pool is started
    Then the start fails after 120 seconds

  @B-PRELOAD-x4
  Scenario: An engine that makes progress is given more time
    Given an engine that takes 300 seconds to load
    And it says something every 50 seconds
    When the pool is started
    Then the pool is ready

  @B-PRELOAD-x4
  Scenario: Progress that stops is given one minute more
    Given an engine that never becomes ready
    And it says something after 100 seconds
    When the pool is started
    Then the start fails after 160 seconds

  @B-PRELOAD-x4
  Scenario: Half an hour is enough, even with progress
    Given an engine that never becomes ready
    And it says something every 50 seconds
    When the pool is started
    Then the start fails after 30 minutes

  @B-PRELOAD-x4
  Scenario: A model that keeps coming is waited for
    Given a model that takes 10 minutes to be put in place, with progress every 30 seconds
    And a pool that gives it 2 minutes
    When the pool is started
    Then the pool is ready

  @B-PRELOAD-020 @B-PRELOAD-021
  Scenario: While the engine loads nobody is told that the pool is ready
    Given an engine that takes 10 seconds to load
    And the pool is being started
    When 9 seconds have passed
    Then the registry says that "chat" is neither live nor ready
    And there is no handoff

  @B-PRELOAD-022 @B-PRELOAD-023 @B-PRELOAD-024
  Scenario: As soon as it is ready everybody is told, with the version of the engine
    Given an engine of version "b4321" that takes 10 seconds to load
    And the pool is being started
    When 11 seconds have passed
    Then the registry says that "chat" is live and ready
    And the engine version of "chat" is "b4321"
    And the handoff has the engine version "b4321"

  @B-PRELOAD-022
  Scenario: The handoff is there before the registry says ready
    Given somebody looks for the handoff the moment the registry says ready
    When the pool is started
    Then the handoff was there

  @B-PRELOAD-020 @B-PRELOAD-x1 @real @engine
  Scenario: A real engine, from cold to an answer
    Given llama.cpp's own server with a tiny model
    When the pool is started
    Then whoever takes a lease gets words from the model
