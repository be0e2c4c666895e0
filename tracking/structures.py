"""What accompanies an item of a batch."""

from mmengine.structures import BaseDataElement


class TrackSample(BaseDataElement):
    """Annotation of a pair of crops, or a whole sequence with what a tracker made of it.

    Of a pair of crops (``inputs = dict(template=[3, h, w], search=[3, H, W])``, uint8 RGB):

    ================  ==============================================================================
    template_box      [4] x, y, width, height in the template crop, as parts of its side
    search_box        the same in the search crop; may reach beyond 0..1
    pred_box          [4] predicted box in the search crop, like ``search_box``
    pred_score        score of it, in 0..1
    ================  ==============================================================================

    Of a sequence (``inputs`` is empty): ``sequence`` (:class:`VideoSequence`) and, once tracked,
    ``boxes`` float64 [T, 4] in pixels of the frames, ``scores`` [T] and ``seconds`` [T].

    Metainfo: ``img_path`` (of the search crop), ``template_path``, ``sequence_name``, ``dataset``,
    ``frame_ids`` (template's and search frame's index).
    """
