"""Ways to make a language model personal, as arms of one experiment: prompt, generation, head; person or none.

After "Personalized Large Language Models" (Wozniak et al. 2024, arXiv 2402.09269).
"""
