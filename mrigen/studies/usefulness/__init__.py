"""Do synthetic images help to train a classifier of pathology? Tested on held-out real images, modality by modality.

Three kinds of training set: real images, synthetic ones, and both, at several numbers of real subjects. One network
is trained for all modalities together and scored for each: it has the two heads of the condition classifier, so
it knows the modality it looks at. Every training takes the same number of steps on batches of the same size, half of
them synthetic where both are used, and no real image chooses when to stop: so what differs is the data alone. Cells
that the model never saw are left out; they are what `extrapolation` is about.
"""
