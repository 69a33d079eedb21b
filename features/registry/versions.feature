Feature: Two versions
  The registry has a version of the pool's declaration, and one of the program that serves. A newer engine
  does not make a newer declaration, nor the other way round.

  @B-REG-030 @B-REG-031
  Scenario: Both versions are kept
    When these are reported of "chat":
      | version        | 7     |
      | engine version | b4321 |
    Then the registry says of "chat":
      | version        | 7     |
      | engine version | b4321 |

  @B-REG-032 @B-REG-033
  Scenario Outline: Changing one leaves the other as it is
    Given these are known of "chat":
      | version        | 7     |
      | engine version | b4321 |
    When the <changed> of "chat" becomes "new"
    Then the <changed> of "chat" is "new"
    And the <other> of "chat" is "<as before>"

    Examples:
      | changed        | other          | as before |
      | version        | engine version | b4321     |
      | engine version | version        | 7         |
