"""Photos: images that are not 96×96 crops of one face.

===================  ==============================================================
images               image files → arrays
detection            where faces are in a photo (MTCNN)
mean_face            position and size of the training faces in their crops
crops                squares of a photo that look like training faces
localization         a run's keypoints for faces in photos
prediction           all faces of a photo, with boxes and expected errors
found_faces          the faces that were found, and their form in JSON
expected_error       how the expected error of a face is calibrated
tracking, one_euro   faces followed from frame to frame; the filter of their points
video                points of the faces in a video
demo                 the page with webcam and drag-and-drop
photo_inputs         the photos and videos that a command was given
face_files           tables and JSON with all faces
face_drawing         faces drawn on whole photos
references           models that predict points in photos, by name
mediapipe            one of them: MediaPipe's face landmarks
annotations          annotated photos: types and file formats
auto_annotation      a folder of photos → face_keypoints.csv (``annotate``)
evaluation           a run's predictions for annotated photos (``evaluate``)
evaluation_results   their errors
evaluation_page      the folder that an evaluation writes
photo_network        networks for whole photos: training step and prediction
training             their training on photos and a table of points (``train-photos``)
===================  ==============================================================

The competition's data set is not needed here. A run contains what is used of it: the mean face.
"""
