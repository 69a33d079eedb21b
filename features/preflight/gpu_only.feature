Feature: A pool that names GPUs runs on them or not at all

  @B-PREFLIGHT-001 @B-PREFLIGHT-002 @B-PREFLIGHT-003
  Scenario Outline: A tool of the GPU's driver tells that there is one
    Given a host on which "<tool>" is installed, and no GPU is seen
    When it is asked whether there is a GPU
    Then there is one

    Examples:
      | tool       |
      | nvcc       |
      | nvidia-smi |

  @B-PREFLIGHT-004
  Scenario: A GPU that is seen needs no tool
    Given a host with 1 GPU, on which no tool is installed
    When it is asked whether there is a GPU
    Then there is one

  @B-PREFLIGHT-010 @B-PREFLIGHT-011 @B-PREFLIGHT-012
  Scenario: Without a GPU a pool that names one does not start
    Given a host without a GPU
    And a pool that may use the devices "0"
    When the pool is started
    Then the start fails in the preflight, and says "GPU-only enforcement: nvcc/nvidia-smi not found"
    And the pool is failed
    And nothing was launched, and no model put in place

  @B-PREFLIGHT-013
  Scenario: A pool may run on the CPU on purpose
    Given a host without a GPU
    And a pool that may use the devices "0", or runs on the CPU
    When the pool is started
    Then the pool is ready
