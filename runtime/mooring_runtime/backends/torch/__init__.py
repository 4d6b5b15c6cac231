"""Models of PyTorch, on the CPU or a CUDA device.

export   programs written by torch.export.save (.pt2)
script   TorchScript (.pt)
archive  what the file holds, before torch sees it
arrays   numpy arrays to tensors and back
backend  runs what either of them loaded
resident keeps states of sessions on the device from step to step
"""
