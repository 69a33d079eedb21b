Feature: A start that fails leaves nothing behind but the reason

  @B-PRELOAD-030 @B-PRELOAD-031 @real
  Scenario: Nothing of an engine that does not become ready is left
    Given an engine with a family of processes, that never becomes ready
    When the pool is started, with 1 second to become ready
    Then the start fails in the health check
    And the engine is gone, and so is its pid file
    And nothing of its family is left

  @B-PRELOAD-032 @B-PRELOAD-033
  Scenario Outline: The reason names the part that failed
    Given <trouble>
    When the pool is started
    Then the start fails in the <part>
    And the last error of "chat" begins with "<part> failed"

    Examples:
      | trouble                                 | part         |
      | an engine whose check finds a problem   | preflight    |
      | a model that cannot be put in place     | staging      |
      | an engine that cannot be executed       | launch       |
      | an engine that never becomes ready      | health check |
      | an engine that ends while it is loading | health check |

  @B-PRELOAD-034
  Scenario: A pool whose start has failed is not ready
    Given an engine that never becomes ready
    When the pool is started
    Then the registry says that "chat" is neither live nor ready
    And there is no handoff

  @B-PRELOAD-033
  Scenario: Once it works the reason is forgotten
    Given an engine that ends while it is loading
    And the start of the pool has failed
    When the engine is mended and the pool is started
    Then "chat" has no last error
