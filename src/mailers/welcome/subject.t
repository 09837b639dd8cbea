Welcome to Ampout
