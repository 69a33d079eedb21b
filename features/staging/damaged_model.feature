Feature: Damaged models
  A file that is no whole model never takes the place of one that works.

  @B-RELOAD-007 @B-RELOAD-x1 @real @engine
  Scenario: A file that is cut short is no model for llama.cpp's own server
    Given llama.cpp's own server with a tiny model
    And the pool is ready
    When the model is changed to a file that is cut short
    Then the change of model fails
    And whoever takes a lease gets words from the model
