Feature: First look, then fetch, then launch
  What cannot work is found out before anything is downloaded or launched. What may work later is tried again.

  @B-PRELOAD-x1
  Scenario: One thing after the other
    Given a pool whose engine wants a first request
    When the pool is started
    Then these things were done, in this order:
      | check                  |
      | put the model in place |
      | launch the engine      |
      | ask for health         |
      | warm up                |

  @B-PRELOAD-x1
  Scenario: What the check finds costs no download
    Given an engine whose check finds a problem
    When the pool is started
    Then these things were done, in this order:
      | check |

  @B-PRELOAD-x1
  Scenario: What may pass by itself is tried again
    Given an engine whose check finds a problem
    And the start of the pool has failed
    When the problem goes away and 2 seconds have passed
    Then the pool is ready

  @B-PRELOAD-x1
  Scenario: What cannot pass by itself is not tried again
    Given an engine whose check finds a problem that stays
    And the start of the pool has failed
    When 10 minutes have passed
    Then the pool is failed
    And it was tried once

  @B-PRELOAD-x1 @real
  Scenario Outline: A declaration that cannot work is found out at once
    Given <mistake>
    When the pool is started
    Then the start fails in the <part>, and says "<words>"
    And the pool is failed
    And no engine was launched

    Examples:
      | mistake                                        | part      | words               |
      | an engine whose program does not exist         | preflight | does not exist      |
      | an engine whose program may not be executed    | preflight | is not executable   |
      | an engine whose folder does not exist          | preflight | working directory   |
      | a model that does not exist                    | staging   | does not exist      |

  @B-PRELOAD-x3 @real
  Scenario: A port that somebody else holds is found out, and who it is
    Given another program listens on the engine's port
    When the pool is started
    Then the start fails in the preflight, and names that program
    And no engine was launched

  @B-PRELOAD-x3 @real
  Scenario: A stranger's answer is not taken for the engine's
    Given an engine that never takes its port
    And another program takes it as soon as the engine is launched
    When the pool is started
    Then the start fails in the health check, and names that program
