Feature: An engine starts on a device when its turn has come and memory suffices

  @B-GPU-x3
  Scenario: A start waits for the memory that it needs
    Given an engine that needs 40 GB of a device with 80 GB
    And another program takes 60 GB of the device for 20 seconds
    When the pool is started
    Then the pool is ready
    And that took about 20 seconds

  @B-GPU-x3
  Scenario: A start that waits in vain says what is missing and who has it
    Given an engine that needs 40 GB of a device with 80 GB
    And another program takes 60 GB of the device for 10 minutes
    When the pool is started
    Then the start fails in the preflight, and says "20.0 GiB (21474836480 bytes) too few of 40.0 GiB; in use by pid 4711"
    And nothing was launched

  @B-GPU-x3
  Scenario: Two engines never start on one device at once
    Given a pool that may take 30 seconds to become ready
    And an engine that takes 20 seconds to become ready
    When "embed" and "code" are to start on device 0
    Then their engines were launched 20 seconds apart

  @B-PROC-x3
  Scenario: A pool is stopped when its memory is back
    Given an engine that needs 40 GB of a device with 80 GB
    And the device gives memory back 3 seconds late
    And the pool is ready
    When the pool is stopped
    Then the pool is stopped
    And that took about 3 seconds

  @B-PROC-x3
  Scenario: Memory that does not come back keeps its device from all
    Given an engine that needs 40 GB of a device with 80 GB
    And the device gives memory back 10 minutes late
    And the pool is ready
    And the pool is stopped
    When "embed" is to start on device 0 for a while
    Then "embed" waits for the memory of "chat"
