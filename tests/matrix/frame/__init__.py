"""What every program of the matrix shares: installing it, a proxy that is killed in the middle, and what is compared at the end."""
