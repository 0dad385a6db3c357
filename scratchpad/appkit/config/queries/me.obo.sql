-- The user of the request.
SELECT current_user AS me
