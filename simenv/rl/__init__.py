"""Reinforcement learning on simulated users: doors to RL libraries, and what tells serving from exploiting."""
