"""What a run leaves the app as: an adapter, a merged model, and what is made of them.

Weights are read, merged and written one tensor at a time, without loading a model.
"""
