Feature: An engine that was taken over is ended like any other
  The next manager ends all that belongs to an engine, whoever launched it, and nothing else. A number proves nothing:
  by then it may be somebody else's.

  Background:
    Given a pool that is to outlive its manager

  @B-PROC-x1 @S4 @real
  Scenario: A stranger that has got the number of an engine is left alone
    Given the pool is ready
    When its manager is killed, and another program gets the number of its engine before the next one comes
    Then the pool gives the engine up
    And the other program still runs

  @B-PROC-x2 @B-PROC-x3 @S5 @S6 @real
  Scenario: The whole family of an engine that was taken over is ended
    Given an engine with a family of processes, that hold its port
    And another program runs
    And the pool is ready
    And its manager is killed, and another one takes over
    When the pool is stopped
    Then nothing of its family is left
    And the engine's port is free
    And the other program still runs

  @B-PROC-x2 @S5 @S7 @real
  Scenario: So is the family of an engine that died while no manager ran
    Given an engine with a family of processes, that hold its port
    And the pool is ready
    When its manager is killed, the engine is killed, and another manager takes over
    Then the pool gives the engine up
    And nothing of its family is left
    And the engine's port is free

  @B-PROC-x2 @S5 @real
  Scenario: So it is where the manager was a program of its own
    Given an engine with a family of processes, that hold its port
    And another program whose manager keeps the pool ready
    And that program is killed, and we take the pool over
    When the pool is stopped
    Then no process of it is left

  @S5 @S7 @real
  Scenario: An engine whose records were lost is found all the same, and ended
    Given an engine with a family of processes, that hold its port
    And the pool is ready
    When its manager is killed, its records are lost, and another one takes over
    Then the pool comes to a stop
    And the engine is gone, and so is its pid file
    And nothing of its family is left

  @B-PROC-x3 @V2
  Scenario: What cannot be ended is still waited for
    Given an engine that nothing can end
    And the pool is stuck with it
    And its manager is killed, and another one takes over
    When the engine goes at last
    Then the pool is stopped

  @B-PROC-x3 @S7
  Scenario: Until then nothing is launched in its place
    Given an engine that nothing can end
    And the pool is stuck with it
    And its manager is killed, and another one takes over
    When an operator starts the pool
    Then the pool is stuck
    And the engine is not launched again within 60 minutes

  @B-PROC-x3
  Scenario: No process outlives its host
    Given an engine that nothing can end
    And the pool is stuck with it
    When the host goes down, and is back after 60 seconds
    Then the pool is stopped
