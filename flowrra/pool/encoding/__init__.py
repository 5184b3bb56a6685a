"""What travels, as bytes: functions, arguments, results and the surroundings of a submission.

``calls`` is the door on the submitter's side: a call becomes a function (``functions``), arguments (``values``) and
``surroundings``. A value becomes a pickle and its large buffers (``payloads``); ``pickler`` is cloudpickle, corrected
where it changes what it sends (``by_value``, ``received_classes``). ``captures`` tells whether a function's last pickle
is still good, ``culprit`` names the part that cannot travel, ``failures`` sends exceptions.
"""
