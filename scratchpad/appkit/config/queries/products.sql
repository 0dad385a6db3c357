-- The products of the shop, as the app: every user sees all of them.
SELECT product, price, current_user AS read_by FROM shop.products ORDER BY price
