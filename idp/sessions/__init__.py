"""Sessions: their life, and the devices they run on."""
