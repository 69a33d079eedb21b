Feature: Fetched models
  A model that lies somewhere else is fetched once, whole, and only where there is room for it.

  @B-RELOAD-002 @B-PRELOAD-x4 @real
  Scenario: What was fetched before a source broke off is not fetched again
    Given a model at a source that breaks off half way
    And the start of the pool has failed
    When the source works again and the pool is started
    Then only the missing half of the model was fetched
    And the engine is given the very bytes that the source has

  @B-RELOAD-002 @real
  Scenario: Pools that want the same model share it
    Given a model at a source
    When two pools that want it are started at once
    Then both of them are ready
    And the model was fetched once

  @B-PRELOAD-x1 @real
  Scenario: A model for which there is no room is not even begun
    Given a model at a source, larger than the disk
    When the pool is started
    Then the start fails in the staging
    And nothing of the model was fetched

  @B-PRELOAD-x4 @real
  Scenario: People see how far a model is
    Given a model at a source that stops sending half way
    When the pool is being started
    Then people see that half of the model is there

  @B-PRELOAD-x1 @real
  Scenario: What a model needs is told before its engine is launched
    Given a chat model at a source
    When the pool is started
    Then its size, kind and need of memory were told before the engine was launched

  @B-RELOAD-002 @real
  Scenario: Models that nobody uses make room, but never one that an engine works with
    Given a model at a source, and room for one like it
    And the pool is ready
    When two other pools come and go, each with a model of its own
    Then the pool still has the very bytes that the source has
    And there is one other model beside it
