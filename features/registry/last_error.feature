Feature: What went wrong last
  A pool that does not serve has a reason. It can be read for as long as it matters.

  Background:
    Given "chat" is registered

  @B-REG-010 @B-REG-011
  Scenario: The last error can be read
    When the error "out of memory" of "chat" is recorded
    Then the last error of "chat" is "out of memory"

  @B-REG-012
  Scenario: Where nothing went wrong there is no error
    When "chat" is reported live and ready
    Then "chat" has no last error

  @B-REG-013
  Scenario: An error stays while other things change
    Given the error "out of memory" of "chat" was recorded
    When "chat" is reported live but not ready
    Then the last error of "chat" is "out of memory"

  @B-REG-013
  Scenario: A newer error takes the place of an older one
    Given the error "out of memory" of "chat" was recorded
    When the error "the port is taken" of "chat" is recorded
    Then the last error of "chat" is "the port is taken"

  @B-REG-013
  Scenario: An error that no longer matters is cleared
    Given the error "out of memory" of "chat" was recorded
    When the last error of "chat" is cleared
    Then "chat" has no last error
