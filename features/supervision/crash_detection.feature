Feature: An engine that fails is noticed, and why is told
  An engine may die, or live on without answering anybody. Either way its pool no longer says that it serves,
  and says why.

  @B-SUPER-001
  Scenario: An engine that ends is noticed at once
    Given the pool is ready
    When the engine ends with exit code 3
    Then the pool is backing off
    And the log tells that the engine ended with exit code 3

  @B-SUPER-001 @real
  Scenario: An engine that somebody else ends is noticed
    Given the pool is ready
    When somebody ends the engine by force
    Then the pool gives the engine up
    And the engine is gone, and so is its pid file

  @B-SUPER-002
  Scenario: An engine that hangs is given up after three health checks
    Given the pool is ready
    When the engine hangs until it is given up
    Then the log has the times of 3 failed health checks
    And that took between 20 and 41 seconds

  @B-SUPER-002
  Scenario: An engine that hangs is replaced
    Given the pool is ready
    When the engine hangs until it is given up
    And 5 seconds have passed
    Then the pool is ready
    And another engine serves

  @B-SUPER-002
  Scenario: An engine that hangs for a moment goes on
    Given the pool is ready
    When the engine hangs for 15 seconds
    And 60 seconds have passed
    Then the pool is ready
    And the same engine serves

  @B-SUPER-002
  Scenario: Somebody who asks is told of the failed checks so far
    Given the pool is ready
    When the engine hangs for 21 seconds
    Then the pool says how many of 3 health checks failed

  @B-SUPER-002 @real
  Scenario: An engine that is frozen is ended and cleared away
    Given a pool that looks after its engine four times a second
    And the pool is ready
    When somebody freezes the engine
    Then the pool gives the engine up
    And the engine was ended by force
    And the engine is gone, and so is its pid file

  @B-SUPER-003
  Scenario: A CUDA error is told from other crashes
    Given the pool is ready
    When the engine crashes with a CUDA error
    Then the failure is of the class "cuda"
    And the last error of "chat" names "CUDA error"

  @B-SUPER-004
  Scenario: A pool whose engine died does not say that it serves
    Given the pool is ready
    When the engine crashes
    Then the registry says that "chat" is neither live nor ready
    And the last error of "chat" begins with "run failed: the engine ended"

  @B-SUPER-004
  Scenario: A pool whose engine hangs does not say that it serves
    Given the pool is ready
    When the engine hangs until it is given up
    Then the registry says that "chat" is neither live nor ready
    And the last error of "chat" begins with "run failed: 3 health checks in a row failed"

  @B-SUPER-005
  Scenario: A death by a signal names the signal
    Given the pool is ready
    When the engine crashes
    Then the last error of "chat" names "SIGSEGV"

  @B-SUPER-005 @real
  Scenario: A real death by a signal names the signal
    Given the pool is ready
    When somebody ends the engine by force
    Then the pool gives the engine up
    And the last error of "chat" names "SIGKILL"

  @B-SUPER-006
  Scenario: An engine that is done takes its pool with it
    Given an engine that is done when it ends with exit code 0
    And the pool is ready
    When the engine ends with exit code 0
    And 60 seconds have passed
    Then the pool is stopped

  @B-SUPER-006
  Scenario: An engine that ought to go on is restarted, whatever its exit code
    Given an engine that is never done
    And the pool is ready
    When the engine ends with exit code 0
    Then the pool is backing off

  @B-SUPER-006
  Scenario: An engine that is done before it was ready has failed
    Given an engine that is done when it ends with exit code 0
    And it ends with exit code 0 while it is loading
    When the pool is started
    Then the start fails in the health check

  @B-SUPER-007
  Scenario: A crash is logged with all that is known of it
    Given an engine of version "b4321" that takes 0 seconds to load
    And the pool is ready
    And 90 seconds have passed
    When the engine ends with exit code 3
    Then the log tells of the crash, with:
      | pool_id        | chat  |
      | engine_version | b4321 |
      | uptime_seconds | 90.0  |
      | exit_code      | 3     |
      | reason         | exit  |

  @B-SUPER-008
  Scenario: Crashes are counted
    Given the pool is ready
    When the engine crashes 3 times in a row
    Then the pool has counted 3 failures, and that is kept

  @B-SUPER-009
  Scenario: An engine that the kernel killed for want of memory
    Given the pool is ready
    When the engine is killed for want of memory
    Then the failure is of the class "out_of_memory"
    And the log tells of the crash as critical
    And the pool says "give the engine or its group more memory"

  # --- what is concluded, and from what ---

  @B-SUPER-x1
  Scenario: A kill alone does not prove that memory was short
    Given the pool is ready
    When the engine is killed
    Then the failure is of the class "signal"
    And the pool says "find out who kills it"

  @B-SUPER-x1
  Scenario: What a user wrote convicts nobody
    Given the pool is ready
    When the engine crashes on words that a user sent
    Then the failure is of the class "signal"

  @B-SUPER-x1
  Scenario: One bad line of an engine that goes on convicts nobody
    Given the pool is ready
    When the engine tells of a CUDA error and goes on
    And 60 seconds have passed
    Then the pool is ready
    And the same engine serves

  @B-SUPER-x1
  Scenario: An engine that told of a CUDA error long before somebody killed it did not die of that
    Given the pool is ready
    And the engine tells of a CUDA error and goes on
    When the engine is killed
    Then the failure is of the class "signal"

  @B-SUPER-x1
  Scenario: What was concluded, from what and how surely, is logged
    Given the pool is ready
    When the engine crashes with a CUDA error
    Then the log tells of the crash, with:
      | reason     | cuda                                                                                |
      | confidence | likely                                                                              |
      | evidence   | ['CUDA error: an illegal memory access was encountered', 'killed by SIGABRT'] |

  @B-SUPER-x2
  Scenario Outline: Every failure has a class
    Given the pool is ready
    When the engine <dies>
    Then the failure is of the class "<class>"

    Examples:
      | dies                         | class                |
      | ends with exit code 3        | exit                 |
      | crashes                      | signal               |
      | is killed for want of memory | out_of_memory        |
      | runs out of device memory    | device_out_of_memory |
      | crashes with a CUDA error    | cuda                 |
      | loses its device             | device_lost          |
      | hangs until it is given up   | hang                 |
      | ends and nobody knows how    | unknown              |

  @B-SUPER-x2
  Scenario Outline: So has every start that fails
    Given <what>
    When the pool is started
    Then the failure is of the class "<class>"

    Examples:
      | what                                           | class         |
      | an engine that never becomes ready             | start_timeout |
      | an engine that does not know its arguments     | bad_config    |
      | an engine whose check finds a problem          | preflight     |
      | a pool whose port is taken by another program  | port_in_use   |
      | a model that cannot be put in place            | staging       |

  @B-SUPER-x3
  Scenario: The log of a crashed run is kept, of the last five runs
    Given a pool that never gives up
    And the pool is ready
    When the engine says a number and crashes, 7 times in a row
    Then what it said in its runs 3, 4, 5, 6 and 7 is kept

  @B-SUPER-x3
  Scenario: Whoever looks for the cause is told where that log is
    Given the pool is ready
    When the engine crashes with a CUDA error
    Then the log names a file with "CUDA error"

  # --- what is no failure ---

  @B-SUPER-x4
  Scenario: An engine that is stopped is no failure, however it takes that
    Given the pool is ready
    When an operator stops and starts the pool 1 time
    Then the pool has counted no failures
    And the log tells of no crash

  @B-SUPER-x4
  Scenario: An engine that was being stopped when it crashed is not started again
    Given an engine that takes its time to end
    And the pool is ready
    When the engine crashes while an operator stops the pool
    Then the pool is stopped
    And the engine is not launched again within 60 minutes
    And the pool has counted no failures
